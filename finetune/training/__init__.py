"""The parts that recipes are made of: examples as arrays, packing, the plan of steps, trainers, checkpoints."""

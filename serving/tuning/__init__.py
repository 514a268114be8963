"""Fine-tuning on a stack: who moves a job from its files to a served adapter. Imports nothing."""

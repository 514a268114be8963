"""The recipes of `finetune`, as a worker uses them: the data counted, the numbers settled, the training run.

Edge of the worker alone: what is imported here inside of functions loads torch.
"""

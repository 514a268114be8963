"""The demo tiers: two small models the project trains itself, their tasks, their training, their evaluation.

Importing this package loads no model library: `train`, `tokenizer` and `lora_probe` are the edge files.
"""

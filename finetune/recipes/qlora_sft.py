"""Supervised fine-tuning of a LoRA adapter on a base in 4 bits: QLoRA, Dettmers et al. 2023.

    python -m finetune.recipes.qlora_sft --config finetune/recipes/qlora_sft.yaml --data train.jsonl --out DIR

The training of `lora_sft.py`, where it reads from top to bottom. What differs is one of the numbers: `quantization` is
`nf4`, so that the base is loaded in NF4 (doubly quantised), and never written or changed.
"""

from finetune.recipes.command import run
from finetune.recipes.lora_sft import train

__all__ = ["train"]

if __name__ == "__main__":
    run(train, recipe="qlora_sft")

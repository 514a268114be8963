"""Recipes: one readable script each, with a YAML beside it that opens with the command that runs it.

Each has `train(order, reporter) -> Trained`, which raises `TrainingFailed`. Rows name modules, so that nothing heavy
is loaded until a recipe is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType

from finetune.order import Recipe, Reporter, Trained, TrainingOrder

RECIPES: Mapping[Recipe, str] = MappingProxyType(
    {
        "lora_sft": "finetune.recipes.lora_sft",
        "qlora_sft": "finetune.recipes.qlora_sft",
        "dpo": "finetune.recipes.dpo",
    }
)


def train_by(order: TrainingOrder, reporter: Reporter) -> Trained:
    """Train as the order's recipe does. `TrainingFailed` when it cannot go on."""
    trained: Trained = import_module(RECIPES[order.recipe]).train(order, reporter)
    return trained

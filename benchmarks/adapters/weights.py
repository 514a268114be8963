"""Adapters to measure with: random weights of any rank for a card, packed as they are pushed. Owns their files.

What they say is noise, and of no matter: an engine works as hard for them as for trained ones.
"""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
from safetensors.numpy import save

from models.adapters.check import WEIGHTS_FILE
from models.adapters.config import CONFIG_FILE
from models.catalog.memory import ATTENTION_MODULES, module_shapes
from models.catalog.schema import ModelCard

MODULES = ("q_proj", "v_proj")
SPREAD = 0.02


def adapter_zip(card: ModelCard, *, rank: int, seed: int) -> bytes:
    """A LoRA adapter of the card's query and value projections in every layer; another seed makes other weights."""
    shapes, noise = module_shapes(card.architecture), np.random.default_rng(seed)
    tensors = {}
    for layer in range(card.architecture.num_layers):
        for module in MODULES:
            assert module in ATTENTION_MODULES
            into, out = shapes[module]
            place = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            for side, shape in (("A", (rank, into)), ("B", (out, rank))):
                tensors[f"{place}.lora_{side}.weight"] = noise.normal(0, SPREAD, shape).astype(np.float32)
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": card.id,
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": list(MODULES),
        "bias": "none",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(CONFIG_FILE, json.dumps(settings))
        archive.writestr(WEIGHTS_FILE, save(tensors))
    return packed.getvalue()

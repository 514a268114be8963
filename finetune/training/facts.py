"""What the rules for hyperparameters want to know of a base, read from its folder. No torch, nothing is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from finetune.order import TrainingFailed
from models.catalog.memory import ATTENTION_MODULES, MLP_MODULES

CONTEXT = 2_048
"""Tokens where a configuration names no context."""

LONGEST_HEADER = 100 * 2**20


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """A base: its parameters, its context in tokens, and those of its matrices that get adapters."""

    parameters: int
    context: int
    modules: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> BaseFacts:
        """Of a folder in the Hugging Face layout. `TrainingFailed` (model_unavailable) when it is none."""
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = [one for file in sorted(folder.glob("*.safetensors")) for one in _header(file).items()]
            parameters = sum(prod(value["shape"]) for name, value in tensors if name != "__metadata__")
            context = int(config.get("max_position_embeddings") or CONTEXT)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise TrainingFailed(
                "model_unavailable", "The base model's files cannot be read. Pull it again.", detail=str(error)
            ) from error
        ends = {name.rsplit(".", 2)[-2] for name, _ in tensors if name.endswith(".weight")}
        modules = tuple(name for name in (*ATTENTION_MODULES, *MLP_MODULES) if name in ends)
        if not modules:
            raise TrainingFailed("model_unavailable", "The base model has no matrices that an adapter could be for.")
        return cls(parameters, context, modules)


def _header(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > LONGEST_HEADER:
            raise ValueError("the header is too long")
        found: dict[str, Any] = json.loads(stream.read(size))
    return found

"""A small real model folder, a card over it, and the hub that it can be pulled from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.catalog.schema import ModelCard
from models.catalog.sources import Advance
from tests.models.catalog.origins import REPO, REVISION, WANTED_FILES, LoopbackHub, loopback_hub

CARD: dict[str, Any] = {
    "id": "tiny",
    "description": "A card for tests.",
    "source": {"kind": "hub", "repo": REPO, "revision": REVISION},
    "tier": "small",
    "licence": "Apache-2.0",
    "parameters": 1_000_000_000,
    "weight_bytes": 2_000_000_000,
    "architecture": {
        "num_layers": 24,
        "hidden_size": 2048,
        "num_heads": 16,
        "num_kv_heads": 8,
        "head_dim": 128,
        "intermediate_size": 8192,
        "vocab_size": 32000,
        "max_position": 32768,
    },
    "context": 8192,
    "price": {"input_micro_usd": 10_000, "output_micro_usd": 20_000},
}

MakeCard = Callable[..., ModelCard]


@pytest.fixture
def make_card() -> MakeCard:
    """A valid card; keywords replace fields, and a dict is merged into the field that it replaces."""

    def make(**changes: Any) -> ModelCard:
        values = {**CARD}
        for name, value in changes.items():
            merged = isinstance(value, dict) and name in CARD and name != "source"
            values[name] = {**CARD[name], **value} if merged else value
        return ModelCard.model_validate(values)

    return make


def unseen(_total: int) -> Advance:
    """A progress that nobody watches."""
    return lambda _count: None


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder with the wanted files of a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name, body in WANTED_FILES.items():
        (folder / name).write_bytes(body)
    return folder


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A running hub on loopback."""
    with loopback_hub() as running:
        yield running

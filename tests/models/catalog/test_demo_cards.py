"""The cards of the demo tiers say what their recipe makes, and what their weights are."""

from __future__ import annotations

import json

import pytest

from models.catalog import Catalog, resolve
from models.demo.tiers import TIERS


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_demo_card_has_the_shape_of_its_recipe(name: str) -> None:
    card, recipe = Catalog.load().card(f"demo-{name}"), TIERS[name]
    shape = card.architecture
    assert (shape.num_layers, shape.hidden_size, shape.num_heads, shape.intermediate_size) == (
        recipe.layers,
        recipe.hidden,
        recipe.heads,
        recipe.feed_forward,
    )
    assert shape.head_dim == recipe.hidden // recipe.heads
    assert card.tier == recipe.name


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_demo_card_agrees_with_the_shipped_weights(name: str) -> None:
    card = Catalog.load().card(f"demo-{name}")
    folder, shape = resolve(card), card.architecture
    config = json.loads((folder / "config.json").read_text())
    assert config["vocab_size"] == shape.vocab_size
    assert config["max_position_embeddings"] == shape.max_position
    assert config["dtype"] == card.engine_args["dtype"]
    assert (folder / "model.safetensors").stat().st_size == pytest.approx(card.weight_bytes, rel=0.01)

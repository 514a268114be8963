"""The cards of the demo tiers say what their recipe makes, and what their weights are."""

from __future__ import annotations

import json

import pytest

from models.catalog import Catalog, resolve
from models.catalog.devices import GPUS
from models.demo.tiers import TIERS
from serving.fitting import require_fit
from serving.settings import load_settings


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


@pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
def test_the_demo_profile_of_each_accelerator_serves_shipped_weights_alone(accelerator: str) -> None:
    """`make serve` starts it by this name on a machine where nothing was pulled."""
    settings, catalog = load_settings(f"{accelerator}-demo"), Catalog.load()
    assert settings.ray.accelerator == accelerator
    assert [engine.card for engine in settings.engines] == ["demo-small", "demo-large"]
    assert all(resolve(catalog.card(engine.card)).is_dir() for engine in settings.engines)
    require_fit(settings, catalog)


@pytest.mark.parametrize("gpu", GPUS)
def test_the_gpu_demo_fits_every_gpu_of_the_table(gpu: str) -> None:
    settings = load_settings("gpu-demo")
    require_fit(settings.model_copy(update={"ray": settings.ray.model_copy(update={"gpu": gpu})}), Catalog.load())


def test_the_gpu_demo_has_room_for_both_successors_of_a_rolling_change_and_for_a_training() -> None:
    settings = load_settings("gpu-demo")
    assert all(engine.surge for engine in settings.engines)
    assert 2 * sum(engine.gpu_share for engine in settings.engines) + settings.fine_tuning.gpus <= 1

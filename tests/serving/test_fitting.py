"""Every shipped profile against the machine it names, and what only a whole profile can break."""

from __future__ import annotations

from typing import Any

import pytest

from models.catalog import Catalog
from models.errors import ConfigurationError
from serving.fitting import free_gpus, refusals, require_fit
from serving.settings import Settings, load_settings, profile_names


def profile(name: str, **changes: dict[str, Any]) -> Settings:
    """A shipped profile with fields of its first engine, or of `ray`, replaced."""
    values = load_settings(name).model_dump()
    first, *others = values["engines"]
    engines = [first | changes.get("engine", {}), *others]
    return Settings(**values | {"engines": engines, "ray": values["ray"] | changes.get("ray", {})})


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_fits_the_machine_it_names(name: str) -> None:
    require_fit(load_settings(name), Catalog.load())


def test_the_gpu_profiles_serve_quantized_models() -> None:
    catalog = Catalog.load()
    cards = {
        engine.card: catalog.card(engine.card).quantization.method
        for name in ("gpu-24gb", "gpu-80gb", "cluster")
        for engine in load_settings(name).engines
    }
    assert len(cards) == 4
    assert "none" not in cards.values()


def test_engines_that_share_more_gpus_than_there_are_are_refused() -> None:
    found = refusals(profile("gpu-24gb", engine={"gpu_share": 0.5}), Catalog.load())
    assert [(refusal.card, refusal.field) for refusal in found] == [("qwen2.5-14b", "gpu_share")]


def test_autoscaling_counts_with_its_most_replicas() -> None:
    assert refusals(profile("cluster", engine={"max_replicas": 5}), Catalog.load())


def test_an_engine_may_not_use_more_of_a_gpu_than_it_reserves() -> None:
    found = refusals(profile("gpu-24gb", engine={"gpu_share": 0.35}), Catalog.load())
    assert str(found[0]) == "Card 'qwen3-4b': gpu_share: 0.35 is reserved, gpu_memory_utilization is 0.36"


def test_a_profile_on_a_smaller_gpu_names_the_card_that_does_not_fit() -> None:
    with pytest.raises(ConfigurationError, match=r"'qwen2\.5-14b': .*GiB per GPU, 0\.6 of 't4-16gb' is 9\.0"):
        require_fit(profile("gpu-24gb", ray={"gpu": "t4-16gb"}), Catalog.load())


def test_a_card_that_is_not_in_the_catalog_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Unknown model 'gpt-9'"):
        require_fit(
            Settings(profile="x", engines=[{"card": "gpt-9"}], tiers={"small": "gpt-9", "large": "gpt-9"}),
            Catalog.load(),
        )


def test_a_gpu_profile_must_name_its_gpu() -> None:
    with pytest.raises(ValueError, match=r"ray\.gpu: name the GPU"):
        profile("gpu-24gb", ray={"gpu": None})


@pytest.mark.parametrize(("name", "free"), [("gpu-24gb", 0.0), ("gpu-80gb", 0.0), ("gpu-demo", 0.56)])
def test_what_serving_leaves_of_the_gpus_is_known(name: str, free: float) -> None:
    assert free_gpus(load_settings(name), Catalog.load()) == free


def test_a_successor_needs_a_gpu_that_is_free() -> None:
    found = refusals(profile("gpu-24gb", engine={"surge": True}), Catalog.load())
    assert [str(refusal) for refusal in found] == [
        "Card 'qwen3-4b': surge: a successor needs 0.38 GPUs beside the engines, 0 are free"
    ]
    assert not refusals(profile("gpu-24gb", engine={"surge": True}, ray={"gpus": 2}), Catalog.load())

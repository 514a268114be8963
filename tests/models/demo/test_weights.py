import json

import pytest

from models.demo.tiers import TIERS, WEIGHTS

MIB = 2**20


def test_both_tiers_together_stay_below_24_mib() -> None:
    sizes = [file.stat().st_size for file in WEIGHTS.rglob("*.safetensors")]
    assert len(sizes) == len(TIERS)
    assert sum(sizes) <= 24 * MIB


@pytest.mark.parametrize("name", sorted(TIERS))
def test_the_shipped_shape_is_the_documented_one(name: str) -> None:
    config = json.loads((WEIGHTS / name / "config.json").read_text())
    tier = TIERS[name]
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["num_hidden_layers"], config["hidden_size"]) == (tier.layers, tier.hidden)
    assert config["max_position_embeddings"] == 32_768
    assert config["tie_word_embeddings"] is True


@pytest.mark.parametrize("tier", TIERS.values(), ids=sorted(TIERS))
def test_heads_are_large_enough_for_the_cpu_engine(tier: object) -> None:
    assert tier.hidden // tier.heads >= 32  # type: ignore[attr-defined]

"""What a card may say, and what the shipped catalog says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from models.catalog import Catalog, engine_arguments
from models.catalog.schema import OWNED_ARGUMENTS, HubSource
from models.errors import ConfigurationError
from tests.models.catalog.conftest import CARD, MakeCard

# Bytes per weight that a method can reach at best and takes at worst, embeddings left unquantized included.
BYTES_PER_WEIGHT = {"none": (1.9, 4.1), "fp8": (1.0, 1.4), "awq": (0.5, 1.0), "gptq": (0.5, 1.0)}


def test_every_hub_card_is_pinned_to_a_commit_of_its_own() -> None:
    sources = [card.source for card in Catalog.load() if isinstance(card.source, HubSource)]
    assert len(sources) == 6
    assert len({source.revision for source in sources}) == len(sources)


def test_the_weight_sizes_agree_with_parameters_and_quantization() -> None:
    cards = [card for card in Catalog.load() if isinstance(card.source, HubSource)]
    ratios = {card.id: card.weight_bytes / card.parameters for card in cards}
    limits = {card.id: BYTES_PER_WEIGHT[card.quantization.method] for card in cards}
    assert {card for card, (low, high) in limits.items() if not low <= ratios[card] <= high} == set()


def test_the_parameters_agree_with_the_architecture() -> None:
    for card in Catalog.load():
        shape = card.architecture
        attention = 2 * shape.hidden_size * shape.head_dim * (shape.num_heads + shape.num_kv_heads)
        mlp = 3 * shape.hidden_size * shape.intermediate_size * shape.num_experts
        layers, words = shape.num_layers * (attention + mlp), shape.vocab_size * shape.hidden_size
        assert 0.99 * (layers + words) <= card.parameters <= 1.02 * (layers + 2 * words), card.id


def test_a_larger_tier_costs_more_than_the_small_one_beside_it() -> None:
    catalog = Catalog.load()
    for small, large in (("demo-small", "demo-large"), ("qwen3-4b", "qwen2.5-14b"), ("qwen3-30b", "qwen3-235b")):
        assert catalog.card(small).price.output_micro_usd < catalog.card(large).price.output_micro_usd


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"Unknown model 'gpt-9'.*demo-small, demo-large"):
        Catalog.load().card("gpt-9")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("id", "Tiny", "pattern"),
        ("id", "a..b", r"'\.\.'"),
        ("id", "x" * 64, "pattern"),
        ("source", {"kind": "hub", "repo": "maker/tiny", "revision": "main"}, "pattern"),
        ("source", {"kind": "ftp", "path": "x"}, "kind"),
        ("source", {"kind": "s3", "url": "s3://bucket", "digest": f"sha256:{'0' * 64}"}, "pattern"),
        ("price", {"input_micro_usd": 0.5}, "int"),
        ("price", {"input_micro_usd": -1}, "greater"),
        ("architecture", {"num_kv_heads": 5}, "evenly"),
        ("quantization", {"method": "int3"}, "awq"),
        ("lora", {"max_loras": 8, "max_cpu_loras": 7}, "fewer than the 8"),
        ("colour", "red", "Extra"),
    ],
)
def test_a_bad_field_is_refused_by_name(make_card: MakeCard, field: str, value: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        make_card(**{field: value})
    assert caught.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("name", sorted(OWNED_ARGUMENTS))
def test_a_card_cannot_set_what_the_stack_owns(make_card: MakeCard, name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        make_card(engine_args={name: "x"})


def test_engine_arguments_come_from_fields_then_the_card_then_the_profile(make_card: MakeCard) -> None:
    card = make_card(engine_args={"dtype": "bfloat16", "block_size": 16}, quantization={"method": "awq"})
    assert engine_arguments(card, {"block_size": 32, "max_model_len": 1024}) == {
        "max_model_len": 1024,
        "trust_remote_code": False,
        "quantization": "awq",
        "enable_lora": True,
        "max_lora_rank": 16,
        "max_loras": 4,
        "max_cpu_loras": 32,
        "dtype": "bfloat16",
        "block_size": 32,
    }


def test_a_card_without_lora_or_quantization_says_nothing_of_them(make_card: MakeCard) -> None:
    card = make_card(lora={"enabled": False})
    assert engine_arguments(card) == {"max_model_len": 8192, "trust_remote_code": False}


def write_cards(path: Path, *cards: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({"cards": list(cards)}))
    return path


def test_a_file_of_the_operator_adds_cards_and_replaces_shipped_ones(tmp_path: Path) -> None:
    extra = write_cards(tmp_path / "models.yaml", CARD, {**CARD, "id": "demo-small"})
    catalog = Catalog.load(extra)
    assert len(catalog) == len(Catalog.load()) + 1
    assert catalog.card("demo-small").source == catalog.card("tiny").source


def test_no_file_of_the_operator_is_no_error(tmp_path: Path) -> None:
    assert len(Catalog.load(tmp_path / "missing.yaml")) == len(Catalog.load())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cards: [", "is not YAML"),
        ("[]", "file: Input should be"),
        ("cards: []", "cards: "),
        ("cards: [{id: x}]", r"'x'\.description: Field required"),
        ("cards: [3]", r"cards\[0\]"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_the_field(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=rf"Catalog file 'mine.yaml'.*{says}"):
        Catalog.load(tmp_path / "mine.yaml")


def test_a_card_listed_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'tiny' is listed twice"):
        Catalog.load(write_cards(tmp_path / "mine.yaml", CARD, CARD))

import math
from typing import Any

import pytest

from finetune.hyperparameters import Asked, asked, resolved
from models.errors import InvalidRequest

DEMO = {
    "examples": 800,
    "trained_tokens": 48_000,
    "parameters": 2_400_000,
    "modules": ("q_proj", "v_proj"),
    "context": 32_768,
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_epochs", 10**9),
        ("n_epochs", 0),
        ("n_epochs", True),
        ("n_epochs", 1.0),
        ("n_epochs", "3"),
        ("batch_size", 0),
        ("learning_rate", -1),
        ("learning_rate", 0),
        ("learning_rate", math.nan),
        ("learning_rate_multiplier", math.inf),
        ("lora_rank", 0),
        ("lora_dropout", 1),
        ("target_modules", []),
        ("target_modules", [7]),
        ("quantization", "int8"),
        ("quantization", []),
        ("packing", 1),
        ("patience", {}),
        ("rank", 8),
        ("beta", 0.1),
        ("use_dora", True),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked({field: value}, recipe="lora_sft")
    assert refused.value.param == f"hyperparameters.{field}"
    assert field in refused.value.public


@pytest.mark.parametrize("values", [[], "auto", 3])
def test_hyperparameters_that_are_no_object_are_refused(values: Any) -> None:
    with pytest.raises(InvalidRequest, match="expected an object"):
        asked(values, recipe="dpo", param="method.dpo.hyperparameters")


def test_a_long_unknown_name_is_not_echoed_whole() -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked({"x" * 5000: 1}, recipe="lora_sft")
    assert len(refused.value.public) < 150


def test_auto_and_null_and_nothing_ask_for_the_same() -> None:
    nothing = asked(None, recipe="lora_sft")
    assert asked({"n_epochs": "auto", "lora_rank": None}, recipe="lora_sft") == nothing == Asked()


def test_everything_left_open_is_chosen_and_told() -> None:
    found, rules = resolved(asked({}, recipe="lora_sft"), **DEMO)
    assert found.learning_rate == pytest.approx(3e-3, rel=0.1)
    assert found.target_modules == ("q_proj", "v_proj")
    assert any(rule.startswith("n_epochs is ") for rule in rules)
    assert all(rule.endswith(".") for rule in rules)


def test_what_was_asked_for_is_taken_and_not_told() -> None:
    given = {"n_epochs": 3, "batch_size": 8, "learning_rate": 0.01, "lora_rank": 4, "target_modules": ["v_proj"]}
    found, rules = resolved(asked(given, recipe="lora_sft"), **DEMO)
    assert (found.n_epochs, found.batch_size, found.learning_rate) == (3, 8, 0.01)
    assert (found.lora_rank, found.lora_alpha, found.target_modules) == (4, 8, ("v_proj",))
    assert not any(rule.startswith(("n_epochs", "batch_size", "learning_rate", "lora_rank")) for rule in rules)


def test_a_multiplier_multiplies_the_rate_that_we_choose() -> None:
    once, _ = resolved(asked({}, recipe="lora_sft"), **DEMO)
    twice, rules = resolved(asked({"learning_rate_multiplier": 2}, recipe="lora_sft"), **DEMO)
    assert twice.learning_rate == pytest.approx(2 * once.learning_rate, rel=0.01)
    assert any("times 2" in rule for rule in rules)


def test_a_rate_and_a_multiplier_together_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="one of learning_rate and learning_rate_multiplier"):
        asked({"learning_rate": 0.1, "learning_rate_multiplier": 2}, recipe="lora_sft")


def test_a_module_that_the_base_is_not_served_with_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        resolved(asked({"target_modules": ["lm_head"]}, recipe="lora_sft"), **DEMO)
    assert refused.value.param == "hyperparameters.target_modules"


def test_a_length_beyond_the_context_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 32768"):
        resolved(asked({"max_length": 40_000}, recipe="lora_sft"), **DEMO)


@pytest.mark.parametrize("examples", [1, 10, 11, 999, 10**7])
def test_any_number_of_examples_gives_numbers_within_their_bounds(examples: int) -> None:
    for recipe in ("lora_sft", "qlora_sft", "dpo"):
        found, _ = resolved(asked({}, recipe=recipe), **DEMO | {"examples": examples})
        assert 1 <= found.batch_size <= 32
        assert found.quantization == ("nf4" if recipe == "qlora_sft" else "none")


def test_dora_is_for_the_command_line_alone() -> None:
    assert asked({"use_dora": True}, recipe="lora_sft", served=False).use_dora

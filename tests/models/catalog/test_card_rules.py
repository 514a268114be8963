"""Every rule in a pair: what it refuses, by the field's name, and the neighbour that it lets through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from models.catalog import Catalog, memory, rules
from models.catalog.devices import CPU, Device, Gpu, device
from models.errors import ConfigurationError
from tests.models.catalog.conftest import MakeCard

H100 = device("h100-80gb")
L4 = device("l4-24gb")


@dataclass(frozen=True)
class Pair:
    """Card and overrides that `rule` refuses at `at`, and the smallest change that it accepts."""

    rule: str
    at: str
    bad: dict[str, Any] = field(default_factory=dict)
    good: dict[str, Any] = field(default_factory=dict)
    bad_overrides: dict[str, Any] = field(default_factory=dict)
    good_overrides: dict[str, Any] = field(default_factory=dict)
    on: Device = H100
    good_on: Device | None = None


def quantized(method: str, block: int = 1) -> dict[str, Any]:
    return {"quantization": {"method": method, "block": block}}


TP = "engine_args.tensor_parallel_size"
PAIRS = (
    Pair("overrides_stay_in_bounds", "engine_args.model", bad_overrides={"model": "x"}, good_overrides={"seed": 1}),
    Pair("overrides_stay_in_bounds", "engine_args.trust_remote_code", bad_overrides={"trust_remote_code": True}),
    Pair("quantization_runs_on_device", "quantization.method", quantized("fp8"), quantized("awq"), on=CPU),
    Pair("quantization_runs_on_device", "quantization.method", quantized("bitsandbytes"), quantized("gptq"), on=CPU),
    Pair("quantization_runs_on_device", "quantization.method", quantized("bitsandbytes"), quantized("fp8")),
    Pair(
        "quantization_runs_on_device",
        "quantization.method",
        quantized("fp8"),
        quantized("fp8"),
        on=Device(Gpu("old", 2**40, 70)),
        good_on=device("t4-16gb"),
    ),
    Pair(
        "dtype_runs_on_device",
        "engine_args.dtype",
        {"engine_args": {"dtype": "bfloat16"}},
        good_overrides={"dtype": "auto"},
        on=device("t4-16gb"),
    ),
    Pair(
        "dtype_runs_on_device",
        "engine_args.dtype",
        bad_overrides={"dtype": "bfloat16"},
        good_overrides={"dtype": "bfloat16"},
        on=device("t4-16gb"),
        good_on=L4,
    ),
    Pair(
        "head_dim_runs_on_cpu",
        "architecture.head_dim",
        {"architecture": {"head_dim": 16}},
        {"architecture": {"head_dim": 32}},
        on=CPU,
    ),
    Pair("head_dim_runs_on_cpu", "architecture.head_dim", {"architecture": {"head_dim": 16}}, on=CPU, good_on=H100),
    Pair(
        "heads_divide_over_tensor_parallel",
        TP,
        bad_overrides={"tensor_parallel_size": 3},
        good_overrides={"tensor_parallel_size": 4},
    ),
    Pair(
        "heads_divide_over_tensor_parallel",
        TP,
        {"architecture": {"num_heads": 12, "num_kv_heads": 6}},
        {"architecture": {"num_heads": 12, "num_kv_heads": 2}},
        bad_overrides={"tensor_parallel_size": 4},
        good_overrides={"tensor_parallel_size": 4},
    ),
    Pair(
        "shards_keep_quantization_blocks",
        TP,
        quantized("fp8", 128) | {"architecture": {"intermediate_size": 1536}},
        quantized("fp8", 128) | {"architecture": {"intermediate_size": 1536}},
        bad_overrides={"tensor_parallel_size": 8},
        good_overrides={"tensor_parallel_size": 4},
    ),
    Pair(
        "shards_keep_quantization_blocks",
        TP,
        quantized("fp8", 128) | {"architecture": {"intermediate_size": 1536, "num_experts": 8}},
        quantized("fp8", 128) | {"architecture": {"intermediate_size": 1536, "num_experts": 8}},
        bad_overrides={"tensor_parallel_size": 8},
        good_overrides={"tensor_parallel_size": 8, "enable_expert_parallel": True},
    ),
    Pair(
        "layers_fill_the_pipeline",
        "engine_args.pipeline_parallel_size",
        bad_overrides={"pipeline_parallel_size": 25},
        good_overrides={"pipeline_parallel_size": 24},
    ),
    Pair("context_is_within_positions", "context", {"context": 32769}, {"context": 32768}),
    Pair(
        "context_is_within_positions",
        "engine_args.max_model_len",
        bad_overrides={"max_model_len": 40000},
        good_overrides={"max_model_len": 32768},
    ),
    Pair("lora_rank_is_known", "lora.max_rank", {"lora": {"max_rank": 24}}, {"lora": {"max_rank": 32}}),
    Pair(
        "lora_rank_is_known",
        "engine_args.max_lora_rank",
        bad_overrides={"max_lora_rank": 4},
        good_overrides={"max_lora_rank": 8},
    ),
    Pair(
        "host_memory_holds_the_slots",
        "engine_args.max_cpu_loras",
        bad_overrides={"max_loras": 33},
        good_overrides={"max_loras": 33, "max_cpu_loras": 33},
    ),
    # One token takes 2 × 24 layers × 8 heads × 128 × 2 bytes = 98,304; 8,192 of them 768 MiB.
    Pair(
        "kv_cache_holds_one_sequence",
        "engine_args.kv_cache_memory_bytes",
        bad_overrides={"kv_cache_memory_bytes": 768 * 2**20 - 1},
        good_overrides={"kv_cache_memory_bytes": 768 * 2**20},
        on=CPU,
    ),
    Pair(
        "fits_the_gpu",
        "engine_args.gpu_memory_utilization",
        {"weight_bytes": 30 * 10**9},
        {"weight_bytes": 15 * 10**9},
        on=L4,
    ),
    Pair(
        "fits_the_gpu",
        "engine_args.gpu_memory_utilization",
        {"weight_bytes": 100 * 10**9},
        {"weight_bytes": 100 * 10**9},
        good_overrides={"tensor_parallel_size": 2},
    ),
    Pair(
        "fits_the_gpu",
        "engine_args.gpu_memory_utilization",
        {"weight_bytes": 100 * 10**9},
        {"weight_bytes": 100 * 10**9},
        good_overrides={"pipeline_parallel_size": 2},
    ),
    Pair(
        "fits_the_gpu",
        "engine_args.gpu_memory_utilization",
        {"weight_bytes": 15 * 10**9},
        {"weight_bytes": 15 * 10**9},
        bad_overrides={"gpu_memory_utilization": 0.5},
        good_overrides={"gpu_memory_utilization": 0.9},
        on=L4,
    ),
    Pair(
        "fits_the_gpu",
        "engine_args.gpu_memory_utilization",
        {"weight_bytes": 15 * 10**9, "lora": {"max_rank": 256, "max_loras": 16}},
        {"weight_bytes": 15 * 10**9, "lora": {"enabled": False}},
        on=L4,
    ),
    Pair(
        "fits_the_gpu",
        "engine_args.gpu_memory_utilization",
        bad_overrides={"kv_cache_memory_bytes": 20 * 2**30},
        good_overrides={"kv_cache_memory_bytes": 10 * 2**30},
        on=L4,
    ),
)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.rule}-{pair.at}")
def test_a_rule_refuses_by_the_fields_name_and_lets_the_neighbour_through(make_card: MakeCard, pair: Pair) -> None:
    rule = getattr(rules, pair.rule)
    refused = list(rule(rules.Setup(make_card(**pair.bad), pair.on, pair.bad_overrides)))
    assert {refusal.field for refusal in refused} == {pair.at}
    accepted = rules.Setup(make_card(**(pair.good or pair.bad)), pair.good_on or pair.on, pair.good_overrides)
    assert list(rule(accepted)) == []


def test_every_rule_of_the_table_has_a_pair() -> None:
    assert {rule.__name__ for rule in rules.RULES} == {pair.rule for pair in PAIRS}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_model_len", -1),
        ("tensor_parallel_size", "2"),
        ("max_loras", True),
        ("kv_cache_memory_bytes", 1.5),
        ("gpu_memory_utilization", 1.01),
        ("gpu_memory_utilization", "all"),
    ],
)
def test_a_number_that_is_none_stops_the_rules_that_would_calculate_with_it(
    make_card: MakeCard, name: str, value: Any
) -> None:
    assert [refusal.field for refusal in rules.check(make_card(), H100, overrides={name: value})] == [
        f"engine_args.{name}"
    ]


def test_a_card_that_fits_is_refused_nothing(make_card: MakeCard) -> None:
    rules.require(rules.check(make_card(), L4))


def test_all_refusals_are_told_at_once(make_card: MakeCard) -> None:
    refusals = rules.check(make_card(context=40000), L4, overrides={"pipeline_parallel_size": 99})
    with pytest.raises(ConfigurationError, match=r"pipeline_parallel_size: 99 stages.*context: 40000 tokens") as caught:
        rules.require(refusals)
    assert caught.value.param == "engine_args.pipeline_parallel_size"


def test_an_unknown_gpu_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"Unknown GPU 'b9000'.*l4-24gb"):
        device("b9000")


def test_the_kv_cache_of_a_token_is_what_the_engine_was_seen_to_use() -> None:
    """vLLM 0.29 reported 7,280 tokens (whole blocks of 16) in 1 GiB for this model in BF16."""
    card = Catalog.load().card("qwen3-4b")
    tokens = 2**30 // memory.kv_bytes_per_token(card.architecture, memory.Shards())
    assert tokens // 16 * 16 == 7280


def test_kv_heads_are_split_over_workers_and_never_below_one(make_card: MakeCard) -> None:
    shape = make_card().architecture
    per_token = [memory.kv_bytes_per_token(shape, memory.Shards(tensor=size)) for size in (1, 8, 16)]
    assert per_token[0] == 8 * per_token[1]
    assert per_token[1] == per_token[2]


def test_an_fp8_kv_cache_takes_half(make_card: MakeCard) -> None:
    whole, half = (rules.kv_cache_bytes(rules.Setup(make_card(), H100, o)) for o in ({}, {"kv_cache_dtype": "fp8"}))
    assert whole == 2 * half


def test_the_longest_stage_of_an_uneven_pipeline_counts(make_card: MakeCard) -> None:
    card = make_card(architecture={"num_layers": 25}, weight_bytes=25_000)
    assert memory.weight_bytes(card, memory.Shards(pipeline=2)) == 13_000


def test_adapters_on_attention_alone_spare_the_experts() -> None:
    card = Catalog.load().card("qwen3-30b")
    every, attention = (
        memory.lora_bytes(card, memory.Shards(), slots=1, rank=16, modules=modules)
        for modules in (None, memory.ATTENTION_MODULES)
    )
    assert every > 50 * attention

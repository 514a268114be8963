"""Cards and rules against the installed vLLM. Its import is slow, so one process answers every question once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, get_args

import pytest

from models.catalog import Catalog, engine_arguments, rules
from models.catalog.schema import QuantizationMethod
from serving.settings import load_settings, profile_names

ASK_VLLM = """
import json, sys
from typing import get_args
from vllm.config import CacheConfig, LoRAConfig
from vllm.config.lora import MaxLoRARanks
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
from vllm.model_executor.layers.quantization.auto_awq import AutoAWQConfig
from vllm.model_executor.layers.quantization.auto_gptq import AutoGPTQConfig
from vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors import CompressedTensorsConfig
from vllm.model_executor.layers.quantization.fp8 import Fp8Config
from vllm.tool_parsers import ToolParserManager
from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

def build(arguments):
    names = ("enable_auto_tool_choice", "tool_call_parser")
    frontend = {name: arguments.pop(name) for name in names if name in arguments}
    try:
        ToolParserManager.get_tool_parser(FrontendArgs(**frontend).tool_call_parser or "hermes")
        made = AsyncEngineArgs(model=".", **arguments)
        LoRAConfig(max_lora_rank=made.max_lora_rank, max_loras=made.max_loras, max_cpu_loras=made.max_cpu_loras)
        CacheConfig(
            gpu_memory_utilization=made.gpu_memory_utilization, kv_cache_memory_bytes=made.kv_cache_memory_bytes
        )
    except Exception as error:
        return f"{type(error).__name__}: {error}"

answer = {
    "problems": {name: build(arguments) for name, arguments in json.load(sys.stdin).items()},
    "default_share": CacheConfig().gpu_memory_utilization,
    "lora_ranks": get_args(MaxLoRARanks),
    "cpu_head_dims": CPUAttentionBackend.get_supported_head_sizes(),
    "quantizations": QUANTIZATION_METHODS,
    "capabilities": {
        "awq": AutoAWQConfig.get_min_capability(),
        "gptq": AutoGPTQConfig.get_min_capability(),
        "fp8": Fp8Config.get_min_capability(),
        "compressed-tensors": CompressedTensorsConfig.get_min_capability(),
    },
}
print("ANSWER", json.dumps(answer))
"""


@dataclass(frozen=True)
class Vllm:
    """What the installed vLLM said."""

    problems: dict[str, str | None]
    default_share: float
    lora_ranks: list[int]
    cpu_head_dims: list[int]
    quantizations: list[str]
    capabilities: dict[str, int]


def every_engine() -> dict[str, dict[str, Any]]:
    """Each card alone, each engine of each profile, and one argument that does not exist."""
    catalog = Catalog.load()
    alone = {card.id: engine_arguments(card) for card in catalog}
    engines = {
        f"{profile}/{engine.card}": engine_arguments(catalog.card(engine.card), engine.engine_args)
        for profile in profile_names()
        for engine in load_settings(profile).engines
    }
    return alone | engines | {"wrong": {"max_model_length": 1}, "rank": {"max_lora_rank": 24}}


@pytest.fixture(scope="module")
def vllm() -> Vllm:
    command = [sys.executable, "-W", "ignore", "-c", ASK_VLLM]
    done = subprocess.run(command, input=json.dumps(every_engine()), capture_output=True, text=True, check=False)
    answers = [line.removeprefix("ANSWER ") for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert answers, done.stderr[-2000:]
    return Vllm(**json.loads(answers[0]))


def test_vllm_takes_the_arguments_of_every_card_of_every_profile(vllm: Vllm) -> None:
    problems = {name: problem for name, problem in vllm.problems.items() if name not in {"wrong", "rank"}}
    assert len(problems) == len(list(Catalog.load())) + 2 * len(profile_names()) == 20
    assert {name: problem for name, problem in problems.items() if problem} == {}


def test_an_argument_that_vllm_does_not_know_is_noticed(vllm: Vllm) -> None:
    assert "max_model_length" in (vllm.problems["wrong"] or "")
    assert "max_lora_rank" in (vllm.problems["rank"] or "")


def test_the_numbers_of_the_rules_are_those_of_the_installed_vllm(vllm: Vllm) -> None:
    assert tuple(vllm.lora_ranks) == rules.LORA_RANKS
    assert tuple(vllm.cpu_head_dims) == rules.CPU_HEAD_DIMS
    assert vllm.default_share == rules.DEFAULT_MEMORY_SHARE
    assert {"none": 0, **vllm.capabilities} == rules.GPU_CAPABILITY


def test_a_quantization_that_the_rules_refuse_everywhere_is_one_that_vllm_lacks(vllm: Vllm) -> None:
    known = {method for method in get_args(QuantizationMethod) if method in {"none", *vllm.quantizations}}
    assert known == set(rules.GPU_CAPABILITY)

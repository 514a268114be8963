from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.arms import Bench
from benchmarks.calls import Call
from benchmarks.measuring import Measured
from benchmarks.metrics import measure
from benchmarks.runner import Run
from benchmarks.schedule import Block, Point
from benchmarks.suite import Load
from benchmarks.usage import Usage

MeasuredBlock = Callable[..., Measured]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench around a model folder that holds an end token and nothing else."""
    (tmp_path / "config.json").write_text('{"eos_token_id": [1, 7]}')
    arguments: Mapping[str, Any] = {"max_model_len": 2048, "enable_lora": True, "trust_remote_code": False}
    return Bench("demo", tmp_path, dict(arguments), tmp_path, {"HF_HUB_OFFLINE": "1"}, cores="1")


@pytest.fixture
def block() -> MeasuredBlock:
    """One measured block with the figures that matter to a test: 192 requests of 64 tokens in 64 pieces each."""

    def make(
        arm: str,
        tokens_per_s: float,
        *,
        round: int = 0,
        ttft: float = 20,
        fault: str | None = None,
        usage: Usage | None = None,
    ) -> Measured:
        calls = [Call(number, sent_s=0.0, ended_s=1.0, finish_reason="stop") for number in range(192)]
        for call in calls:
            call.output_tokens = 64
            call.chunks_s = [0.001 * ttft + 0.005 * piece for piece in range(64)]
        load = Load.model_validate(
            {
                "prompts": {"kind": "words", "words": [3, 3]},
                "workload": {"kind": "closed", "clients": 16},
                "answer_tokens": 64,
                "requests": 192,
            }
        )
        found = measure(Run(calls=calls, ended_s=192 * 64 / tokens_per_s, loop_lag_s=[0.001]), load, slos=())
        return Measured(Block(round, Point(clients=16), arm, seed=0), found, usage, fault)

    return make

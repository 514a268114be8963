from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.arms import Bench
from benchmarks.load import Measured
from benchmarks.schedule import Block

MeasuredBlock = Callable[..., Measured]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench around a model folder that holds an end token and nothing else."""
    (tmp_path / "config.json").write_text('{"eos_token_id": [1, 7]}')
    arguments: Mapping[str, Any] = {"max_model_len": 2048, "enable_lora": True, "trust_remote_code": False}
    return Bench("demo", tmp_path, dict(arguments), tmp_path, {"HF_HUB_OFFLINE": "1"})


@pytest.fixture
def block() -> MeasuredBlock:
    """One measured block with the figures that matter to a test."""

    def make(arm: str, tokens_per_s: float, *, round: int = 0, ttft: float = 20, fault: str | None = None) -> Measured:
        return Measured(
            block=Block(round, 16, arm, seed=0),
            tokens_per_s=tokens_per_s,
            ttft_p50_ms=ttft,
            ttft_p99_ms=2 * ttft,
            tpot_p50_ms=5,
            completed=192,
            failed=0,
            input_tokens=12288,
            output_tokens=12288,
            duration_s=6,
            fault=fault,
        )

    return make

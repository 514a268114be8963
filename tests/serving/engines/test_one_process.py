"""Where an engine on a CPU runs its model. The engine itself is the end-to-end tests' matter."""

import os
import warnings
from types import SimpleNamespace
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of Ray and of vLLM, at import
    from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    from serving.engines.one_process import BOUND_CORES, OneProcessEngine, one_thread_per_core
    from serving.engines.yielding import BUSY_S, PAUSE_S, YieldingExecutor


def prepared(monkeypatch: pytest.MonkeyPatch, *, workers: int) -> Any:
    """What vLLM is asked for by an engine over so many workers on the cores 2 and 3."""
    config = SimpleNamespace(
        parallel_config=SimpleNamespace(world_size=workers, distributed_executor_backend="mp"),
    )
    monkeypatch.setattr(VLLMEngine, "_prepare_engine_config", lambda *_: ("arguments", "frontend", config))
    monkeypatch.setenv(BOUND_CORES, "2,3")
    for name in one_thread_per_core("2,3"):
        monkeypatch.setenv(name, "")  # or there would be nothing to put back
        monkeypatch.delenv(name)
    assert OneProcessEngine.__new__(OneProcessEngine)._prepare_engine_config(None) == ("arguments", "frontend", config)
    return config.parallel_config.distributed_executor_backend


def test_one_worker_runs_in_the_core_with_a_thread_on_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared(monkeypatch, workers=1) is YieldingExecutor
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert os.environ["GOMP_CPU_AFFINITY"] == "2 3"


def test_several_workers_keep_vllms_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepared(monkeypatch, workers=2) == "mp"
    assert "GOMP_CPU_AFFINITY" not in os.environ


def test_an_engine_that_works_on_and_on_pauses_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Any] = []
    monkeypatch.setattr(UniProcExecutor, "_init_executor", lambda _: None)
    monkeypatch.setattr(UniProcExecutor, "execute_model", lambda _, step, **options: steps.append((step, options)))
    clock = SimpleNamespace(spent=5.0, slept=[])
    own = SimpleNamespace(
        thread_time=lambda: clock.spent, sleep=lambda seconds: clock.slept.append((len(steps), seconds))
    )
    monkeypatch.setattr("serving.engines.yielding.time", own)
    executor = YieldingExecutor.__new__(YieldingExecutor)
    executor._init_executor()
    for step in range(10):
        executor.execute_model(step, non_block=True)
        clock.spent += BUSY_S / 2.5
    assert steps == [(step, {"non_block": True}) for step in range(10)]
    assert clock.slept == [(step, PAUSE_S) for step in (3, 6, 9)]

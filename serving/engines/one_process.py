"""vLLM on a CPU with the model in the engine core's own process, instead of a worker process beside it.

Between the two, vLLM waits in a loop of `sched_yield`, and on a machine with few cores everything else starves
(docs/decisions/0009-engines-on-a-cpu.md has the figures). In one process the executor pauses for the others' sake, too.
vLLM refuses its own `uni` executor on a CPU because it cannot set up OpenMP for a process that already runs; here the
variables stand before the core starts. An engine over several workers keeps vLLM's choice.
"""

from __future__ import annotations

import os
from typing import Any

from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

from serving.engines.yielding import YieldingExecutor

BOUND_CORES = "VLLM_CPU_OMP_THREADS_BIND"


class OneProcessEngine(VLLMEngine):  # type: ignore[misc]
    """Ray Serve LLM's vLLM engine, on the cores that `VLLM_CPU_OMP_THREADS_BIND` names (`2,3`)."""

    def _prepare_engine_config(self, callback_ctx: Any) -> tuple[Any, Any, Any]:
        arguments, frontend, config = super()._prepare_engine_config(callback_ctx)
        if config.parallel_config.world_size == 1:
            config.parallel_config.distributed_executor_backend = YieldingExecutor
            os.environ.update(one_thread_per_core(os.environ[BOUND_CORES]))
        return arguments, frontend, config


def one_thread_per_core(cores: str) -> dict[str, str]:
    """What GNU's OpenMP, which vLLM preloads, reads once at a process's start."""
    return {"OMP_NUM_THREADS": str(len(cores.split(","))), "GOMP_CPU_AFFINITY": cores.replace(",", " ")}

"""vLLM's executor in one process, made a good neighbour: it leaves its core for a moment again and again.

An engine with work never waits for anything: on a CPU it holds its core while anybody is answered. A scheduler
should share the core all the same, but Linux 6.18 was seen to let everybody else wait for half a minute
(docs/decisions/0027-engines-on-a-cpu-pause.md has the figures). On a GPU this executor is not used.
"""

from __future__ import annotations

import time
from typing import Any

from vllm.v1.executor.uniproc_executor import UniProcExecutor

BUSY_S = 0.02  # processor time of the engine's thread between two pauses
PAUSE_S = 0.002


class YieldingExecutor(UniProcExecutor):  # type: ignore[misc]
    """`UniProcExecutor` that sleeps for `PAUSE_S` before the step that follows `BUSY_S` of processor time."""

    def _init_executor(self) -> None:
        super()._init_executor()
        self._rested = time.thread_time()

    def execute_model(self, *arguments: Any, **options: Any) -> Any:
        """As vLLM's, behind a pause where one is due. An engine that had nothing to do spent no processor time."""
        if time.thread_time() - self._rested >= BUSY_S:
            time.sleep(PAUSE_S)
            self._rested = time.thread_time()
        return super().execute_model(*arguments, **options)

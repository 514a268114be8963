"""What the processes of an arm used: CPU seconds, memory, and where they run. Reads the kernel through psutil.

A server that somebody else started shows nothing: absent, not zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from benchmarks.arms import Arm
from benchmarks.processes import allowed_cores


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds, user and system. `front_s`: of what a request passes before the engine; `all_s`: of everything."""

    front_s: float
    engine_s: float
    all_s: float

    def since(self, before: Usage) -> Usage:
        """What was used in between."""
        return Usage(self.front_s - before.front_s, self.engine_s - before.engine_s, self.all_s - before.all_s)


class Watched:
    """The processes of one arm, found once: looking for them costs CPU time itself."""

    def __init__(self, arm: Arm) -> None:
        self._all = arm.processes()
        self._front = arm.front()
        engine = arm.engine()
        self._engine = {one.pid: one for one in (engine.core, *engine.workers)} if engine is not None else {}

    @property
    def known(self) -> bool:
        """Whether there is anything to see: a server that somebody else started shows nothing."""
        return bool(self._all)

    def usage(self) -> Usage | None:
        """Since the processes began; None where it is not known."""
        if not self.known:
            return None
        return Usage(_cpu_s(self._front), _cpu_s(self._engine.values()), _cpu_s(self._all))

    def memory_bytes(self) -> int | None:
        """Proportional set size of all processes together: shared pages count once. None where it is not known."""
        return sum(map(_memory, self._all)) if self.known else None

    def cores(self) -> dict[str, str]:
        """Where the kernel lets them run."""
        return {
            "engine": "; ".join(sorted({allowed_cores(one) for one in self._engine.values()})),
            "front": "; ".join(sorted({allowed_cores(one) for one in self._front})),
        }


def _cpu_s(processes: Iterable[psutil.Process]) -> float:
    used = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def _memory(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0

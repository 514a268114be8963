"""What the processes of an arm used: CPU seconds, memory, and where they run. Reads the kernel through psutil.

A server that somebody else started shows nothing: absent, not zero.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Set
from contextlib import suppress
from dataclasses import dataclass

import psutil

from benchmarks.arms import Arm
from benchmarks.processes import allowed_cores

COMPUTING = ("nvidia-smi", "--query-compute-apps=pid,gpu_uuid", "--format=csv,noheader")
SMI_LIMIT_S = 20


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds, user and system. `front_s`: of what a request passes before the engine; `all_s`: of everything.

    `cards`: the GPUs that its processes hold; None where the machine has none.
    """

    front_s: float
    engine_s: float
    all_s: float
    cards: int | None = None

    def since(self, before: Usage) -> Usage:
        """What was used in between."""
        return Usage(
            self.front_s - before.front_s, self.engine_s - before.engine_s, self.all_s - before.all_s, self.cards
        )


class Watched:
    """The processes of one arm, found once: looking for them costs CPU time itself."""

    def __init__(self, arm: Arm) -> None:
        self._all = arm.processes()
        self._front = arm.front()
        engine = arm.engine()
        self._engine = {one.pid: one for one in (engine.core, *engine.workers)} if engine is not None else {}
        self._cards = cards_of({process.pid for process in self._all})

    @property
    def known(self) -> bool:
        """Whether there is anything to see: a server that somebody else started shows nothing."""
        return bool(self._all)

    def usage(self) -> Usage | None:
        """Since the processes began; None where it is not known."""
        if not self.known:
            return None
        return Usage(_cpu_s(self._front), _cpu_s(self._engine.values()), _cpu_s(self._all), self._cards)

    def memory_bytes(self) -> int | None:
        """Proportional set size of all processes together: shared pages count once. None where it is not known."""
        return sum(map(_memory, self._all)) if self.known else None

    def cores(self) -> dict[str, str]:
        """Where the kernel lets them run."""
        return {
            "engine": "; ".join(sorted({allowed_cores(one) for one in self._engine.values()})),
            "front": "; ".join(sorted({allowed_cores(one) for one in self._front})),
        }


def cards_of(pids: Set[int]) -> int | None:
    """How many GPUs these processes compute on, from `nvidia-smi`; None where there is no such command."""
    try:
        done = subprocess.run(COMPUTING, capture_output=True, text=True, check=False, timeout=SMI_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line.split(", ") for line in done.stdout.splitlines()]
    return len({line[1] for line in lines if len(line) == 2 and line[0].isdigit() and int(line[0]) in pids})


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

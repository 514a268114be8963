"""Where workers live: the contract, and processes of this machine, for tests and stacks without Ray.

`ray_trainers.py` has the other kind. Owns starting, looking and ending; what a worker does is `worker.py`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from models.privacy import new_private_file, private_folder
from serving.periodic import ticks
from serving.tuning.plan import WorkerPlan

Life = Literal["pending", "running", "gone"]
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Resources:
    """What one worker holds while it lives. `gpus` are shares: 0.5 is half of one."""

    cpus: float = 1
    gpus: float = 0


class Trainers(Protocol):
    """Workers by job and attempt. Every gateway sees the same ones, and any of them may ask."""

    async def start(self, plan: WorkerPlan, resources: Resources) -> None:
        """Start the worker of an attempt, as soon as there is room for it; one that lives is not started twice."""
        ...

    async def alive(self, job: str, attempt: int) -> Life:
        """`pending` while it waits for its resources; `gone` also when there never was one."""
        ...

    async def kill(self, job: str, attempt: int) -> None:
        """End it now. When this returns it does nothing more, whatever it was doing."""
        ...


class ProcessTrainers:
    """Each worker is a process of this machine, which holds a lock in `folder` for as long as it lives: so every
    process here, and a later one, sees it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    async def start(self, plan: WorkerPlan, resources: Resources) -> None:  # noqa: ARG002 - a machine has room, or swaps
        """Start it."""
        await asyncio.to_thread(self._start, plan)

    async def alive(self, job: str, attempt: int) -> Life:
        """Whether its lock is held."""
        return "gone" if self.pid(job, attempt) is None else "running"

    async def kill(self, job: str, attempt: int) -> None:
        """SIGKILL, to all of its session."""
        async for _ in ticks(POLL_S):
            pid = self.pid(job, attempt)
            if pid is None:
                return
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def pid(self, job: str, attempt: int) -> int | None:
        """Of a worker that lives."""
        self._reap()
        try:
            with self._lock(job, attempt).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return int(self._lock(job, attempt).read_text() or "0") or None
        return None

    def close(self) -> None:
        """End every worker that was started here."""
        for process in self._started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start(self, plan: WorkerPlan) -> None:
        private_folder(self._folder)
        lock = self._lock(plan.job, plan.attempt)
        with lock.open("a+") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            told = lock.with_suffix(".json")
            told.unlink(missing_ok=True)
            with new_private_file(told) as file:
                file.write(plan.model_dump_json().encode())
            command = [sys.executable, "-P", "-m", "serving.tuning.worker", str(told)]
            with lock.with_suffix(".log").open("ab") as out:
                # The worker inherits the lock: it is free again when that process has ended, and not before.
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    pass_fds=(held.fileno(),),
                    start_new_session=True,
                )
            held.truncate(0)
            held.write(str(process.pid))
        self._started.append(process)

    def _lock(self, job: str, attempt: int) -> Path:
        return self._folder / f"{job}.{attempt}.lock"

    def _reap(self) -> None:
        """A process that has ended and was not asked for its status is still there, in name."""
        self._started = [process for process in self._started if process.poll() is None]


class FakeTrainers:
    """A fake: no worker at all. Set `life` per (job, attempt); read `started` and `killed`."""

    def __init__(self) -> None:
        self.life: dict[tuple[str, int], Life] = {}
        self.started: list[WorkerPlan] = []
        self.killed: list[tuple[str, int]] = []

    async def start(self, plan: WorkerPlan, resources: Resources) -> None:  # noqa: ARG002
        """It runs from now on."""
        self.started.append(plan)
        self.life.setdefault((plan.job, plan.attempt), "running")

    async def alive(self, job: str, attempt: int) -> Life:
        """As it was set."""
        return self.life.get((job, attempt), "gone")

    async def kill(self, job: str, attempt: int) -> None:
        """It is gone."""
        self.killed.append((job, attempt))
        self.life[job, attempt] = "gone"

"""Which cores a CPU engine binds to: each replica on a machine claims the least used ones, and gives them back by
dying.

vLLM's own choice binds every engine of a machine to the same core. A claim is a locked file per core and place in its
queue; the kernel drops the lock with the process, so there is nothing to clean up after a crash. During a rolling
change old and new engines share cores: who stands behind another one moves to a core that came free (`moved`).
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil


class CoreClaim:
    """Cores held by this process until `release` or its death. `behind`: others that held them at the claim."""

    def __init__(self, cores: tuple[int, ...], locks: list[IO[str]], *, behind: int) -> None:
        self.cores = cores
        self.behind = behind
        self._locks = locks

    def release(self) -> None:
        """Give the cores back."""
        for lock in self._locks:
            lock.close()


def available_cores() -> tuple[int, ...]:
    """The cores that this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def claim_cores(folder: Path, count: int, *, cores: tuple[int, ...] | None = None) -> CoreClaim:
    """Claim `count` cores (at most all), the least claimed first, the highest number first among equals.

    The highest first because interrupts and everything unbound lean towards core 0.
    """
    every = cores or available_cores()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "claims.lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        free_place = {core: _first_free_place(folder, core) for core in every}
        chosen = sorted(every, key=lambda core: (free_place[core], -core))[: min(count, len(every))]
        locks = [_lock(folder, core, place=free_place[core]) for core in chosen]
    held = [lock for lock in locks if lock is not None]
    return CoreClaim(tuple(sorted(chosen)), held, behind=sum(free_place[core] for core in chosen))


def moved(claim: CoreClaim, folder: Path, *, cores: tuple[int, ...] | None = None) -> CoreClaim:
    """The claim to go on with: the same one, or one that stands behind fewer others, with this process's children
    moved to its cores and the old one released.
    """
    if claim.behind == 0:
        return claim
    other = claim_cores(folder, len(claim.cores), cores=cores)
    if other.behind >= claim.behind or len(other.cores) != len(claim.cores):  # no better, or the machine shrank
        other.release()
        return claim
    left, taken = set(claim.cores) - set(other.cores), set(other.cores) - set(claim.cores)
    instead = dict(zip(sorted(left), sorted(taken), strict=True))
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            _move_threads(child, set(claim.cores), instead=instead)
    claim.release()
    return other


def _move_threads(process: psutil.Process, bound: set[int], *, instead: dict[int, int]) -> None:
    """Give every thread that is bound to claimed cores the others; free threads stay free."""
    for thread in process.threads():
        with suppress(ProcessLookupError):
            now = os.sched_getaffinity(thread.id)
            if now <= bound:
                os.sched_setaffinity(thread.id, {instead.get(core, core) for core in now})


def _first_free_place(folder: Path, core: int) -> int:
    place = 0
    while (lock := _lock(folder, core, place=place)) is None:
        place += 1
    lock.close()
    return place


def _lock(folder: Path, core: int, *, place: int) -> IO[str] | None:
    file = (folder / f"core-{core}.{place}").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file

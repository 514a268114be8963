"""The processes of a running stack, as the machine shows them: who serves which card, and what belongs to whom."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

POLL_S = 0.1


@dataclass(frozen=True)
class ReplicaProcesses:
    """One replica: Ray's actor, the engine under it, and the workers under that, if it has any."""

    actor: psutil.Process
    core: psutil.Process
    workers: tuple[psutil.Process, ...]

    @property
    def engine_pids(self) -> set[int]:
        """What would be an orphan without the actor."""
        return {self.core.pid, *(worker.pid for worker in self.workers)}


def node_of(state_dir: Path) -> psutil.Process:
    """The process that holds the stack's Ray node."""
    return psutil.Process(json.loads((state_dir / "stack.json").read_text())["pid"])


def replicas_of(state_dir: Path, card: str) -> list[ReplicaProcesses]:
    """The card's replicas whose engine is up, oldest first."""
    found = []
    for actor in _titled(node_of(state_dir).children(recursive=True), f"ray::ServeReplica:penstock:{card}"):
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at: it is none of them then
            for core in _titled(actor.children(), "VLLM::EngineCore"):
                workers = _titled(core.children(recursive=True), "VLLM::Worker")
                found.append(ReplicaProcesses(actor, core, tuple(workers)))
    return sorted(found, key=lambda replica: replica.actor.create_time())


def actors_of(state_dir: Path, *names: str) -> set[int]:
    """Pids of the deployments' actors, ready or not."""
    processes = node_of(state_dir).children(recursive=True)
    return {each.pid for name in names for each in _titled(processes, f"ray::ServeReplica:penstock:{name}")}


def trainers_of(state_dir: Path) -> set[int]:
    """Pids of the processes that train, or begin to."""
    return {each.pid for each in _titled(node_of(state_dir).children(recursive=True), "ray::WorkerActor")}


def wait_until(what: Callable[[], bool], *, limit_s: float) -> float:
    """Seconds until it is so; fails loudly when it never is."""
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < limit_s, f"not so within {limit_s} s"
        time.sleep(POLL_S)
    return time.monotonic() - started


def all_gone(pids: set[int]) -> bool:
    """Whether none of these processes lives; a zombie does not."""
    return not any(_lives(pid) for pid in pids)


def _lives(pid: int) -> bool:
    with suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def _titled(processes: list[psutil.Process], title: str) -> list[psutil.Process]:
    """By the title that Ray and vLLM give their processes; Ray appends the method that runs now."""
    matching = []
    for process in processes:
        with suppress(psutil.Error):
            words = process.cmdline()  # once: it is empty as soon as the process has ended
            if words and words[0].split(".")[0].strip() == title:
                matching.append(process)
    return matching

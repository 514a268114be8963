"""A server that somebody else started: measured over HTTP, and nothing is known of its processes."""

from __future__ import annotations

import psutil

from benchmarks.arms import ArmFailed, Bench, Target
from benchmarks.arms.child import serves
from benchmarks.processes import EngineProcesses
from benchmarks.reach import reach
from models.errors import PenstockError


class Remote:
    """`NAME=URL`. It serves the card's name, or the first model that it lists."""

    def __init__(self, bench: Bench, *, name: str, url: str) -> None:
        self.name = name
        self._bench = bench
        self.target = Target(url.rstrip("/"), bench.card, bench.key)

    def start(self) -> Target:
        """Ask it for its models, and for an answer."""
        try:
            found = reach(self.target.url, key=self._bench.key, model=None, api="completions")
        except PenstockError as error:
            raise ArmFailed(self.name, error.public) from error
        self.target = Target(found.url, found.model, self._bench.key)
        if not serves(self.target):
            raise ArmFailed(self.name, f"model {found.model!r} of {found.url} answers no completion")
        return self.target

    def engine(self) -> EngineProcesses | None:
        """Absent."""
        return None

    def front(self) -> list[psutil.Process]:
        """Absent."""
        return []

    def processes(self) -> list[psutil.Process]:
        """Absent."""
        return []

    def metrics(self) -> str | None:
        """Absent: which of its figures are this engine's is not known."""
        return None

    def stop(self) -> None:
        """It is not ours to end."""

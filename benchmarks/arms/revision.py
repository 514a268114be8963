"""Penstock at another git revision: its files in a work tree of their own, set up by that revision's own command."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.arms import ArmFailed, Bench, Target
from benchmarks.arms.penstock import Penstock
from benchmarks.origin import REPOSITORY
from benchmarks.processes import allowed_cores, engine_below

SET_UP_LIMIT_S = 1200
STARTS = 4
LAST_LINES = 10


class Revision:
    """`penstock@REV`. Everything but its files and its environment is Penstock's arm."""

    def __init__(self, bench: Bench, *, revision: str) -> None:
        self.name = f"penstock@{revision}"
        self._bench = bench
        self._revision = revision
        self._files = bench.folder / self.name.replace("/", "-")
        self._stack = Penstock(bench, name=self.name, files=self._files)
        self.engine = self._stack.engine
        self.front = self._stack.front
        self.processes = self._stack.processes
        self.metrics = self._stack.metrics

    @property
    def target(self) -> Target:
        """Where its HAProxy listens."""
        return self._stack.target

    def start(self) -> Target:
        """Check the revision out, set it up, and start its stack, again where its engine took another core."""
        self._call("git", "worktree", "add", "--detach", str(self._files), self._revision, at=REPOSITORY)
        self._call("./setup.sh", at=self._files)
        for _ in range(STARTS):
            target = self._stack.start()
            if self._bench.mock is not None:
                self._require_mock()
                return target
            if self._has_its_cores():
                return target
            self._stack.stop()
        raise ArmFailed(self.name, f"its engine never took core {self._bench.cores}, where the other arms compute")

    def stop(self) -> None:
        """End the stack, and drop the work tree."""
        self._stack.stop()
        subprocess.run(
            ["git", "worktree", "remove", "--force", str(self._files)], cwd=REPOSITORY, capture_output=True, check=False
        )

    def _has_its_cores(self) -> bool:
        engine = self.engine()
        return engine is not None and all(allowed_cores(one) == self._bench.cores for one in engine.workers)

    def _require_mock(self) -> None:
        engine = self.engine()
        if engine is None or engine_below(engine.core) is not None:
            raise ArmFailed(self.name, "this revision runs vLLM where the mock engine was asked for")

    def _call(self, *command: str, at: Path) -> None:
        done = subprocess.run(
            command,
            cwd=at,
            env=dict(self._bench.environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=SET_UP_LIMIT_S,
        )
        if done.returncode != 0:
            lines = "\n".join(done.stderr.strip().splitlines()[-LAST_LINES:])
            raise ArmFailed(self.name, f"`{command[0]}` failed in {self._files.name}", log=lines)

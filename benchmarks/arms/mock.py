"""The mock engine asked directly: the bare arm where the engine must not be the limit."""

from __future__ import annotations

import json
import sys

import httpx2
import psutil

from benchmarks.arms import Bench, Target
from benchmarks.arms.child import Child, serves
from benchmarks.processes import EngineProcesses
from models.free_ports import free_port

APP = "serving.testing:FakeEngine"


class MockServer:
    """`serving.testing.FakeEngine` under uvicorn, with the bench's script."""

    name = "bare-mock"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._child = Child(self.name, bench.folder / f"{self.name}.log")
        self.target = Target(f"http://127.0.0.1:{free_port()}", bench.card)

    def start(self) -> Target:
        """Start it and tell it its script."""
        port = self.target.url.rsplit(":", 1)[1]
        command = (sys.executable, "-m", "uvicorn", APP, "--factory", "--port", port, "--log-level", "warning")
        self._child.start((*command, "--no-access-log"), self._bench.environment)
        self._child.wait_until(lambda: serves(self.target))
        script = json.loads(self._bench.mock or "{}")
        httpx2.post(f"{self.target.url}/script", json=script).raise_for_status()
        return self.target

    def engine(self) -> EngineProcesses | None:
        """The server itself."""
        root = self._child.root
        return EngineProcesses(root, (root,)) if root is not None else None

    def front(self) -> list[psutil.Process]:
        """Nothing stands before it."""
        return []

    def processes(self) -> list[psutil.Process]:
        """One."""
        return [self._child.root] if self._child.root is not None else []

    def metrics(self) -> str | None:
        """It has none."""
        return None

    def stop(self) -> None:
        """End it."""
        self._child.stop()

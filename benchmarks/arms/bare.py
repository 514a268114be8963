"""vLLM's own OpenAI server, alone: what every other arm is measured against."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import psutil

from benchmarks.arms import Bench, Target
from benchmarks.arms.child import Child, scraped, serves
from benchmarks.processes import EngineProcesses, descendants, engine_below
from models.free_ports import free_port

ONE_PROCESS = "serving.engines.yielding.YieldingExecutor"


def as_flags(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Engine arguments as vLLM's command line spells them."""
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        else:
            yield from (f"--{flag}", json.dumps(value) if isinstance(value, dict | list) else str(value))


class BareVllm:
    """vLLM's OpenAI server, bound to the bench's cores.

    With the executor of Penstock's engines, so that both are the same engine; `as_shipped` leaves vLLM its own.
    """

    def __init__(self, bench: Bench, *, name: str = "bare-vllm", as_shipped: bool = False) -> None:
        self.name = name
        self._as_shipped = as_shipped
        self._bench = bench
        self._child = Child(name, bench.folder / f"{name}.log")
        self.target = Target(f"http://127.0.0.1:{free_port()}", bench.card)

    def command(self) -> list[str]:
        """How it is started. No access log: the other arms write none per request to the terminal either."""
        bench = self._bench
        module = "vllm.entrypoints.openai.api_server" if self._as_shipped else "benchmarks.arms.bare_server"
        return [
            *(sys.executable, "-m", module, "--host", "127.0.0.1"),
            *(() if self._as_shipped else ("--distributed-executor-backend", ONE_PROCESS)),
            *("--port", self.target.url.rsplit(":", 1)[1], "--disable-uvicorn-access-log"),
            *("--model", str(bench.model), "--served-model-name", bench.card, *as_flags(bench.arguments)),
        ]

    def start(self) -> Target:
        """Start and wait for the first answer."""
        threads = {"VLLM_CPU_OMP_THREADS_BIND": self._bench.cores, "OMP_NUM_THREADS": "1"}
        self._child.start(self.command(), {**self._bench.environment, **threads})
        self._child.wait_until(lambda: serves(self.target))
        return self.target

    def engine(self) -> EngineProcesses | None:
        """The engine below the server."""
        return engine_below(self._child.root) if self._child.root is not None else None

    def front(self) -> list[psutil.Process]:
        """The API server."""
        return [self._child.root] if self._child.root is not None else []

    def processes(self) -> list[psutil.Process]:
        """The server and what it started."""
        return [process for root in self.front() for process in (root, *descendants(root))]

    def metrics(self) -> str | None:
        """The server's own."""
        return scraped(self.target)

    def stop(self) -> None:
        """End the server and its engine."""
        self._child.stop()

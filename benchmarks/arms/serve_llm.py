"""Ray Serve LLM's `build_openai_app`, as it comes, in a Ray of its own.

Equal to the other arms where that is not what is measured: engine arguments and processes, cores, threads and
niceness. Everything else, Serve's proxy and batching too, is Ray's default.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.arms import ENGINE_CLASS, Bench, Target
from benchmarks.arms.child import Child, serves
from benchmarks.processes import EngineProcesses, descendants, engine_below, titled
from models.free_ports import free_port

ONE_PROCESS = "serving.engines.one_process.OneProcessEngine"
SERVER = "ray::ServeReplica:default:LLMServer"


class RayServeLlm:
    """The edge script `serve_llm_app` and the Ray that it starts.

    With the engine of Penstock's replicas, so that both are the same engine; `as_shipped` leaves Serve LLM its own.
    `interval_ms`: how long Serve LLM gathers tokens before it sends them; None is its default of 50.
    """

    def __init__(
        self, bench: Bench, *, name: str = "ray-serve-llm", as_shipped: bool = False, interval_ms: int | None = None
    ) -> None:
        self.name = name
        self._as_shipped = as_shipped
        self._interval_ms = interval_ms
        self._bench = bench
        self._child = Child(name, bench.folder / f"{name}.log")
        self.target = Target(f"http://127.0.0.1:{free_port()}", bench.card)
        # Ray's Unix sockets lie in it: their paths have at most 107 characters
        self._temp = Path(tempfile.gettempdir()) / f"{name}-{os.getpid()}"

    def start(self) -> Target:
        """Start Ray and the application, and wait for the first answer."""
        token = self._bench.folder / f"{self.name}.token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        environment = {
            **self._bench.environment,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_worker_niceness": "0",  # 15 by default, which would measure the kernel's scheduler
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # everything on loopback
        }
        order = self._bench.folder / f"{self.name}.json"
        order.write_text(json.dumps(self.order()))
        self._child.start([sys.executable, "-m", "benchmarks.arms.serve_llm_app", str(order)], environment)
        self._child.wait_until(lambda: serves(self.target))
        return self.target

    def order(self) -> dict[str, object]:
        """What the script is told."""
        interval = {} if self._interval_ms is None else {"stream_batching_interval_ms": self._interval_ms}
        return {
            "card": self._bench.card,
            "model": str(self._bench.model),
            "engine": self._bench.arguments,
            "experimental": interval,
            "port": int(self.target.url.rsplit(":", 1)[1]),
            "variables": {
                "VLLM_CPU_OMP_THREADS_BIND": self._bench.cores,
                "OMP_NUM_THREADS": "1",
                **self._engine_class(),
                **{name: value for name, value in self._bench.environment.items() if name.startswith("HF_HUB")},
            },
            "temp": str(self._temp),
        }

    def _engine_class(self) -> dict[str, str]:
        if self._bench.mock is not None:
            return self._bench.mock_variables
        return {} if self._as_shipped else {ENGINE_CLASS: ONE_PROCESS}

    def engine(self) -> EngineProcesses | None:
        """The engine below Ray; a mock one lives in the replica's own process."""
        if self._child.root is None:
            return None
        if self._bench.mock is not None:
            replicas = titled(descendants(self._child.root), SERVER)
            return EngineProcesses(replicas[0], (replicas[0],)) if len(replicas) == 1 else None
        return engine_below(self._child.root)

    def front(self) -> list[psutil.Process]:
        """Proxy, router and the server's replica, where the engine is not in it."""
        found = self.engine()
        own = {process.pid for process in (found.core, *found.workers)} if found is not None else set()
        path = (*titled(self.processes(), "ray::ServeReplica"), *titled(self.processes(), "ray::ProxyActor"))
        return [process for process in path if process.pid not in own]

    def processes(self) -> list[psutil.Process]:
        """The script and its whole Ray."""
        root = self._child.root
        return [root, *descendants(root)] if root is not None else []

    def metrics(self) -> str | None:
        """None: the engine's figures go into Ray's own exporter."""
        return None

    def stop(self) -> None:
        """End the script and its Ray."""
        self._child.stop()
        shutil.rmtree(self._temp, ignore_errors=True)

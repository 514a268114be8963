"""LiteLLM's proxy, in an environment of its own, in front of the bare arm's server."""

from __future__ import annotations

import json
import secrets

import psutil

from benchmarks.arms import ArmFailed, Bench, Target
from benchmarks.arms.child import Child, serves
from benchmarks.arms.peer_environment import peer_environment
from benchmarks.processes import EngineProcesses, descendants
from models.free_ports import free_port

REQUIREMENT = "litellm[proxy]==1.108.7"
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_DOCS": "True", "DISABLE_ADMIN_UI": "True"}


class LiteLlm:
    """One worker, one key, no database: the least that a user of it runs."""

    name = "litellm"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._child = Child(self.name, bench.folder / f"{self.name}.log")
        self.target = Target(f"http://127.0.0.1:{free_port()}", bench.card, f"sk-{secrets.token_hex(16)}")

    def start(self) -> Target:
        """Make its environment where it is missing, start it, and wait for the first answer."""
        if self._bench.upstream is None:
            raise ArmFailed(self.name, "it needs a bare arm to stand in front of: add --arm bare-vllm")
        found = peer_environment(self.name, REQUIREMENT, environment=self._bench.environment)
        config = self._bench.folder / "litellm.yaml"
        config.write_text(json.dumps(self.config(self._bench.upstream.target.url)))  # JSON is YAML
        config.chmod(0o600)
        port = self.target.url.rsplit(":", 1)[1]
        command = (str(found / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", port)
        self._child.start((*command, "--num_workers", "1"), {**self._bench.environment, **QUIET})
        self._child.wait_until(lambda: serves(self.target))
        return self.target

    def config(self, upstream: str) -> dict[str, object]:
        """Its configuration: one model, which the bare arm serves."""
        parameters = {"model": f"hosted_vllm/{self._bench.card}", "api_base": f"{upstream}/v1", "api_key": "none"}
        return {
            "model_list": [{"model_name": self._bench.card, "litellm_params": parameters}],
            "general_settings": {"master_key": self.target.key},
            "litellm_settings": {"drop_params": False, "telemetry": False, "request_timeout": 600},
        }

    def engine(self) -> EngineProcesses | None:
        """The bare arm's."""
        return self._bench.upstream.engine() if self._bench.upstream is not None else None

    def front(self) -> list[psutil.Process]:
        """The proxy, and what a request passes in the bare arm."""
        return [*self._own(), *(self._bench.upstream.front() if self._bench.upstream is not None else ())]

    def processes(self) -> list[psutil.Process]:
        """The proxy, and the bare arm that it cannot do without."""
        return [*self._own(), *(self._bench.upstream.processes() if self._bench.upstream is not None else ())]

    def metrics(self) -> str | None:
        """The bare arm's: the engine is the same one."""
        return self._bench.upstream.metrics() if self._bench.upstream is not None else None

    def stop(self) -> None:
        """End the proxy; the bare arm ends itself."""
        self._child.stop()

    def _own(self) -> list[psutil.Process]:
        root = self._child.root
        return [root, *descendants(root)] if root is not None else []

"""One engine replica: vLLM inside Ray Serve LLM's server, with an HTTP endpoint of its own for the gateways.

Tokens go straight from here to the gateway over HTTP; Ray carries control only (docs/decisions/0002). Owns the
endpoint, the replica's health, its drain and its cores. Does not choose replicas (`attempts.py`) and builds no
deployment (`deploy/`). Edge file: imports Ray, and vLLM through it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import ray.util
from ray.serve.llm import LLMConfig, LLMServer

from serving.engines.adapter_door import AdapterDoor
from serving.engines.adapter_start import AdapterPlan, filled_shelf
from serving.engines.adapter_status import AdapterFigures, standing
from serving.engines.adapters import AdapterShelf
from serving.engines.asgi import AsgiApp
from serving.engines.autoscaling import LOAD
from serving.engines.cores import CoreClaim, claim_cores, moved
from serving.engines.door import DoorSettings, EngineDoor
from serving.engines.lora import VllmLora
from serving.engines.one_process import BOUND_CORES, OneProcessEngine
from serving.engines.parentage import claim_children
from serving.own_server import OwnServer
from serving.periodic import Periodic, ticks

log = logging.getLogger("ray.serve")

PROBE_TIMEOUT_S = 15.0
WATCH_INTERVAL_S = 0.25
CORES_INTERVAL_S = 5.0
LAST_WORDS_S = 1.0
ENGINE_CLASS = "RAYLLM_VLLM_ENGINE_CLS"  # Ray's own switch: whoever sets it (a benchmark, with a mock) wants that one


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """What a replica needs beyond vLLM's own arguments. `cores` is None where no core is bound (GPU), `adapters` where
    the engine runs without LoRA.
    """

    card: str
    token: str
    door: DoorSettings
    cores: int | None
    claims: str
    loopback: bool
    keep_alive_s: float = 75.0
    adapters: AdapterPlan | None = None


class EngineReplica(LLMServer):  # type: ignore[misc]
    """Ray Serve starts it with `async __init__`, asks `check_health`, and ends it by `__del__`."""

    async def __init__(self, llm_config: LLMConfig, *, replica: ReplicaSettings) -> None:  # type: ignore[misc]
        self._replica = replica
        self._background = AsyncExitStack()
        self._cores: CoreClaim | None = None
        if replica.cores is not None:
            self._cores = claim_cores(Path(replica.claims), replica.cores)
            os.environ[BOUND_CORES] = ",".join(str(core) for core in self._cores.cores)
        claim_children()
        ours = self._cores is not None and ENGINE_CLASS not in os.environ
        await super().__init__(llm_config, engine_cls=OneProcessEngine if ours else None)

    async def start(self) -> None:
        """Start the engine, then the endpoint: nobody can reach an engine that is not ready."""
        await super().start()
        app: AsgiApp = await self.engine.build_asgi_app()
        self._shelf = await self._filled_shelf(app)
        if self._shelf is not None:
            app = AdapterFigures(app, self._shelf)
        self._door = EngineDoor(
            app, token=self._replica.token, settings=self._replica.door, adapters=AdapterDoor(self._shelf)
        )
        host = "127.0.0.1" if self._replica.loopback else ray.util.get_node_ip_address()
        self._server = OwnServer(self._door, host=host, keep_alive_s=self._replica.keep_alive_s)
        self._watching = asyncio.create_task(self._exit_with_engine())
        await self._background.enter_async_context(Periodic(self._take_free_cores, every_s=CORES_INTERVAL_S))
        await self._warm_up()

    def record_replica_metadata(self) -> dict[str, Any]:
        """What Serve tells every gateway about this replica."""
        host, port = self._server.address
        return {
            "base_url": f"http://{host}:{port}",
            "pid": os.getpid(),
            "cores": list(self._cores.cores) if self._cores else [],
        }

    async def check_health(self) -> None:
        """Raise when the engine is dead, and when it is alive but answers nothing (stopped, hung)."""
        await super().check_health()
        client = self.engine._engine_client
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await client.is_sleeping()

    async def status(self) -> dict[str, Any]:
        """Figures for people: what this replica is doing now."""
        adapters = await standing(self._shelf) if self._shelf is not None else None
        counts = {"running": self._door.running, "queued": self._door.queued}
        return {**self.record_replica_metadata(), **counts, "adapters": adapters}

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the autoscaling policy counts."""
        return {LOAD: float(self._door.running + self._door.queued)}

    async def _filled_shelf(self, app: AsgiApp) -> AdapterShelf | None:
        """Every live adapter, loaded; None for an engine without adapters, as one that generates nothing is."""
        models = getattr(getattr(app, "state", None), "openai_serving_models", None)
        if self._replica.adapters is None or models is None:
            return None
        engine = VllmLora(self.engine._engine_client, models)
        return await filled_shelf(self._replica.adapters, engine, card=self._replica.card)

    async def _warm_up(self) -> None:
        """One tiny generation through the endpoint itself: the first one costs seconds, and it proves the way."""
        url = f"{self.record_replica_metadata()['base_url']}/v1/completions"
        body = {"model": self._replica.card, "prompt": "ready", "max_tokens": 2}
        headers = {"Authorization": f"Bearer {self._replica.token}"}
        async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body) as response:
            response.raise_for_status()
            await response.read()

    async def _exit_with_engine(self) -> None:
        """A dead engine never comes back: let its error frames leave, then leave too, so that Serve replaces us at
        once.
        """
        client = self.engine._engine_client
        polls = ticks(WATCH_INTERVAL_S)
        while not client.errored:
            await anext(polls)
        log.error("Engine of card %r died; this replica ends so that a new one can start.", self._replica.card)
        self._door.closing = True
        await asyncio.sleep(LAST_WORDS_S)
        os._exit(1)

    async def _take_free_cores(self) -> None:
        """A replica that shares its cores, as after a rolling change, moves to those that come free."""
        if self._cores is None:
            return
        now = moved(self._cores, Path(self._replica.claims))
        if now is not self._cores:
            log.info("Engine of card %r moved to cores %s.", self._replica.card, now.cores)
        self._cores = now

    async def __del__(self) -> None:
        """Serve's call before it ends a replica: wait for the running requests, however long they are, then stop.

        The controller's own deadline (`graceful_shutdown_timeout_s`, set to the longest call) is the only limit.
        """
        if not hasattr(self, "_server"):
            return
        await self._door.drained()
        self._watching.cancel()
        await self._background.aclose()
        await self._server.stop()
        self.engine._engine_client.shutdown()

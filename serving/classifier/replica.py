"""One classifier replica as a Ray Serve deployment: the embedder, the models, and an HTTP endpoint for the gateways.

Gateways come over HTTP, past Serve's handles, as they come to the engines: a handle costs 2 to 6 ms a call, this way
half a millisecond (docs/decisions/0020). Owns start, health and end. Edge file: imports Ray, and torch through the
embedder.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.util

from models.artifacts import ArtifactSettings
from models.catalog import ModelStore
from models.catalog.pull import Puller, access_of
from router.policies import ClassifierSettings
from serving.classifier.batches import Batches
from serving.classifier.door import ClassifierDoor
from serving.classifier.local import scorer_of
from serving.classifier.published import PublishedRouters
from serving.own_server import OwnServer

PROBE_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class ClassifierPlan:
    """Everything a replica is made from; travels to it by value. `artifacts_home`: where a local store lies unless its
    settings say so; `fetched`: where versions lie once they are here; `models`: where pulled models lie.
    """

    classifier: ClassifierSettings
    artifacts: ArtifactSettings
    artifacts_home: str
    fetched: str
    models: str
    token: str
    loopback: bool


class ClassifierReplica:
    """Ray Serve starts it with `async __init__`, asks `check_health`, and ends it by `__del__`."""

    async def __init__(self, plan: ClassifierPlan) -> None:  # type: ignore[misc]
        settings = plan.classifier
        routers = PublishedRouters.of(
            plan.artifacts, home=Path(plan.artifacts_home), cache=Path(plan.fetched), name=settings.name
        )
        puller = Puller(ModelStore(Path(plan.models)), access_of(os.environ), wait=True)
        self._scorer = scorer = await asyncio.to_thread(scorer_of, settings, routers.model, puller=puller)
        self._open = AsyncExitStack()
        self._readings = await self._open.enter_async_context(
            Batches(scorer.read, most=settings.batch, queue=settings.queue)
        )
        await self._probe()  # the first pass through the model is the slow one
        host = "127.0.0.1" if plan.loopback else ray.util.get_node_ip_address()
        self._server = OwnServer(ClassifierDoor(scorer, self._readings, token=plan.token), host=host)

    async def __call__(self) -> None:
        """Serve wants a callable; nobody comes this way."""

    def record_replica_metadata(self) -> dict[str, Any]:
        """What Serve tells every gateway about this replica."""
        host, port = self._server.address
        return {"base_url": f"http://{host}:{port}", "pid": os.getpid()}

    async def check_health(self) -> None:
        """Raise when the worker thread answers nothing any more."""
        await self._probe()

    async def _probe(self) -> None:
        """One text through the worker thread, whatever waits in the queue and wherever the versions lie."""
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await self._readings.apart(self._scorer.warm)

    async def __del__(self) -> None:
        """Serve's call before it ends a replica: the calls that run finish."""
        if hasattr(self, "_server"):
            await self._server.stop()
            await self._open.aclose()

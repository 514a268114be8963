"""The gateway as a Ray Serve deployment: the composition root (`serving/app.py`) inside a replica. Edge file: imports
Ray.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve._private.common import DeploymentID
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.catalog import ModelCard
from serving.app import AdapterParts, GatewayParts, open_gateway
from serving.engines.directory import ServeDirectory
from serving.own_server import OwnServer
from serving.settings import Settings
from serving.tuning.open import TuningParts
from serving.tuning.ray_trainers import RayTrainers


@dataclass(frozen=True)
class TuningPlan:
    """What trainings need. `models`: folder of a base's weights, by card; `work`: a folder for trainings."""

    models: dict[str, str]
    work: str
    gpu: bool


@dataclass(frozen=True)
class GatewayPlan:
    """Everything a gateway replica is made from; travels to the replica by value.

    `listeners`: the folder where each gateway leaves the port of its own server for HAProxy; None on a joined cluster,
    where HAProxy comes through Serve's ingress.
    """

    settings: Settings
    cards: dict[str, ModelCard]
    deployments: dict[str, DeploymentID]
    engine_token: str
    salt_key: str
    store_url: str
    spool: str
    listeners: str | None
    adapters: AdapterParts | None
    tuning: TuningPlan | None = None


class WithoutRequestId:
    """ASGI middleware: Serve appends `x-request-id` to every response, so ours, which is the same, is left out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        def send_without(message: Message) -> Awaitable[None]:  # no coroutine of its own: per-token code
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"x-request-id"]
            return send(message)

        await self._app(scope, receive, send_without)


def tuning_parts(plan: TuningPlan) -> TuningParts:
    """Trainings as actors of this cluster."""
    return TuningParts(RayTrainers(), models=plan.models, work=plan.work, gpu=plan.gpu)


@serve.ingress()
class GatewayReplica:
    """Opens the gateway when Serve builds the ASGI app, closes it when Serve ends the replica."""

    def __init__(self, plan: GatewayPlan, *engines: DeploymentHandle) -> None:
        """`engines` are bound so that Serve keeps them in one application; tokens never travel through them."""
        self._plan = plan
        self._engines = engines
        self._open = AsyncExitStack()

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Called once by Serve, in the loop that will serve requests."""
        plan = self._plan
        context = serve.get_replica_context()
        own = DeploymentID(name=context.deployment, app_name=context.app_name)
        directory = ServeDirectory({**plan.deployments, own.name: own})
        directory.start()
        self._open.callback(directory.stop)
        parts = GatewayParts(
            settings=plan.settings,
            cards=plan.cards,
            directory=directory,
            engine_token=plan.engine_token,
            salt_key=plan.salt_key,
            store_url=plan.store_url,
            spool=plan.spool,
            adapters=plan.adapters,
            tuning=None if plan.tuning is None else tuning_parts(plan.tuning),
            replica=context.replica_id.unique_id,
            gateways=lambda: directory.running(own.name),
        )
        app = await self._open.enter_async_context(open_gateway(parts))
        if plan.listeners is not None:
            self._listen(app, Path(plan.listeners) / context.replica_id.unique_id)
        gc.collect()
        gc.freeze()  # Ray's and our own modules live as long as the process: no collection walks them in mid-stream
        return WithoutRequestId(app)

    def _listen(self, app: ASGIApp, told: Path) -> None:
        """A server of our own: Serve's ingress stays for its health checks, and its price is paid by nobody else."""
        server = OwnServer(app)
        self._open.push_async_callback(server.stop)  # waits for the calls that run, before what they need is closed
        written = told.with_suffix(".new")
        written.write_text(str(server.address[1]))
        written.rename(told)
        self._open.callback(told.unlink, missing_ok=True)

    def record_replica_metadata(self) -> dict[str, Any]:
        """What `penstock status` shows of a gateway."""
        return {}

    async def __del__(self) -> None:
        """After Serve has drained the replica: write what is left, close what is open."""
        await self._open.aclose()

"""The process that tells Ray Serve what to run: `python -m serving.deploy.launch FILE`, one JSON event per line on
stdout.

A process of its own because Serve reads its switches when it is imported (`environment.py`), and so that Ray's chatter
stays out of the user's terminal. Owns the order of things inside Serve. Starts no node (`node.py`). Edge file:
imports Ray.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import chdir, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray import serve
from ray.serve._private.common import DeploymentID, ReplicaState
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.context import _get_global_client
from ray.serve.deployment import Application
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatus

from models.adapters.foundation import BaseModel, base_of
from models.catalog import Catalog, ModelStore
from models.catalog.pull import Puller, access_of
from models.crash import armed
from models.errors import PenstockError
from router.policies import classifier_of
from serving.adapters.live import StoredLive
from serving.app import AdapterParts
from serving.classifier.client import NAME as CLASSIFIER
from serving.classifier.published import first_release
from serving.classifier.replica import ClassifierPlan
from serving.deploy.applications import (
    APPLICATION,
    GATEWAY,
    classifier_deployment,
    engine_deployment,
    stack_application,
)
from serving.deploy.cause import cause_of
from serving.deploy.environment import listeners_of
from serving.deploy.gateway import GatewayPlan, TuningPlan
from serving.deploy.logs import session_logs
from serving.deploy.retire import as_found
from serving.engines.adapter_start import AdapterPlan
from serving.settings import Settings, load_settings

POLL_S = 0.5
START_LIMIT_S = 1800
LOOPBACK = "127.0.0.1"
READY = "Everything is running"
SETTLED_S = 5
SERVED = {ReplicaState.RUNNING, ReplicaState.STOPPING}
ON_THE_WAY = {
    DeploymentStatus.HEALTHY,
    DeploymentStatus.UPDATING,
    DeploymentStatus.UPSCALING,
    DeploymentStatus.DOWNSCALING,
}
NOT_A_CARD = {APPLICATION: "The stack", GATEWAY: "The gateway", CLASSIFIER: "The classifier"}


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """What `up` asks for: everything that is not in the profile. `scratch` holds the session's logs, if it is ours;
    `fresh`: this state folder has no running stack.
    """

    profile: str
    overrides: dict[str, Any]
    address: str
    store_url: str
    artifacts: str
    fetched: str
    drafts: str
    trainings: str
    spool: str
    claims: str
    engine_token: str
    salt_key: str
    cards: str | None
    models: str
    scratch: str | None
    fresh: bool


def tell(event: str, text: str, *, log: Sequence[str] = ()) -> None:
    """One line to the process that started us."""
    sys.stdout.write(json.dumps({"event": event, "text": text, "log": log}) + "\n")
    sys.stdout.flush()


def launch(order: LaunchOrder) -> None:
    """Deploy every application of the order and return when all that it wants is running."""
    settings = load_settings(order.profile, order.overrides)
    catalog = Catalog.load(Path(order.cards) if order.cards else None)
    if classifier_of(settings.router) is not None:
        places = {"home": Path(order.artifacts), "cache": Path(order.fetched)}
        puller = Puller(ModelStore(Path(order.models)), access_of(os.environ), wait=True)
        asyncio.run(first_release(settings, store_url=order.store_url, puller=puller, **places))
    tell("progress", "Connecting to Ray")
    with TemporaryDirectory(prefix="penstock-") as empty, chdir(empty):  # workers import from here before all else
        ray.init(address=order.address, namespace="serve", log_to_driver=False, configure_logging=False)
    tell("progress", "Starting Ray Serve and HAProxy")
    joined = settings.ray.address is not None
    serve.start(
        proxy_location=ProxyLocation.EveryNode,
        # Gateways listen where Serve does. On one node only HAProxy comes to them, and has an address of its own.
        http_options=HTTPOptions(host=settings.http.host if joined else LOOPBACK, port=settings.http.port),
    )
    if joined:
        listens = _get_global_client().http_config.port
        require_ground(serve.status().applications, settings, order=order, listens=listens)
    plan = GatewayPlan(
        settings=settings,
        cards={engine.card: catalog.card(engine.card) for engine in settings.engines},
        deployments=deployments_of(settings),
        engine_token=order.engine_token,
        salt_key=order.salt_key,
        store_url=order.store_url,
        spool=order.spool,
        adapters=(adapters := adapter_parts(settings, order, catalog=catalog)),
        tuning=None if adapters is None else tuning_plan(settings, order, catalog=catalog, cards=adapters.bases),
        listeners=str(listeners_of(Path(order.scratch))) if order.scratch is not None else None,
    )
    application = stack_application(
        plan,
        models=ModelStore(Path(order.models)),
        claims=order.claims,
        adapters=None if plan.adapters is None else adapter_plan(settings, order, bases=plan.adapters.bases),
        classifier=classifier_plan(settings, order),
    )
    _keep_versions(application)
    # A node of our own goes as a whole.
    with as_found(serve, report=partial(tell, "progress")) if joined else nullcontext():
        serve._run(application, name=APPLICATION, route_prefix="/", _blocking=False)
        draining = _wait_until_served(settings)
    tell("ready", f"{READY}; replaced replicas finish their calls: {draining}" if draining else READY)


def deployments_of(settings: Settings) -> dict[str, DeploymentID]:
    """What a gateway listens for: each engine by its card, and the classifier where there is one."""
    engines = {engine.card: engine_deployment(engine.card) for engine in settings.engines}
    reads = classifier_of(settings.router) is not None
    return {**engines, **({CLASSIFIER: classifier_deployment()} if reads else {})}


def adapter_parts(settings: Settings, order: LaunchOrder, *, catalog: Catalog) -> AdapterParts | None:
    """What gateways need for adapters; None where no engine loads any."""
    if settings.ray.address is not None and not settings.artifacts.reaches_every_node:
        tell("progress", "Adapters are off: every node must reach them, and `artifacts` is a folder of this one")
        return None
    models, bases = ModelStore(Path(order.models)), {}
    for engine in settings.engines:
        card = catalog.card(engine.card)
        base = base_of(card, models.find(card), cache=Path(order.fetched), overrides=engine.engine_args)
        if base.enabled:
            bases[card.id] = base
    if not bases:
        return None
    return AdapterParts(
        artifacts=settings.artifacts,
        artifacts_home=order.artifacts,
        fetched=order.fetched,
        work=order.drafts,
        bases=bases,
        crash_at=armed(),
    )


def tuning_plan(settings: Settings, order: LaunchOrder, *, catalog: Catalog, cards: Iterable[str]) -> TuningPlan:
    """What trainings of adapters of these cards need."""
    models = ModelStore(Path(order.models))
    return TuningPlan(
        models={card: str(models.resolve(catalog.card(card))) for card in cards},
        work=order.trainings,
        gpu=settings.ray.accelerator == "gpu",
    )


def adapter_plan(settings: Settings, order: LaunchOrder, *, bases: Mapping[str, BaseModel]) -> AdapterPlan:
    """What an engine's replicas need for adapters."""
    live = StoredLive(order.store_url, {card: base.revision for card, base in bases.items()})
    return AdapterPlan(settings.artifacts, home=order.artifacts, cache=order.fetched, live=live)


def classifier_plan(settings: Settings, order: LaunchOrder) -> ClassifierPlan | None:
    """What the classifier's processes are made from; None where the policy reads no prompt."""
    classifier = classifier_of(settings.router)
    if classifier is None:
        return None
    return ClassifierPlan(
        classifier=classifier,
        artifacts=settings.artifacts,
        artifacts_home=order.artifacts,
        fetched=order.fetched,
        models=order.models,
        token=order.engine_token,
        loopback=settings.ray.address is None,
    )


def require_ground(applications: Container[str], settings: Settings, *, order: LaunchOrder, listens: int) -> None:
    """Refuse, on a cluster that was joined, a stack of another state folder, and a Serve that listens elsewhere."""
    if order.fresh and APPLICATION in applications:
        raise PenstockError(
            f"The Ray cluster at {order.address!r} runs a stack already, started from another state folder: change and "
            f"end it from there. If that folder is lost, `python -m serving.deploy.retire {order.address} --joined` "
            "ends the stack."
        )
    if listens != settings.http.port:
        raise PenstockError(
            f"Serve on this Ray cluster listens on port {listens} already, for everybody: `--port {listens}` joins it."
        )


def _keep_versions(application: Application) -> None:
    """Serve does nothing for a version it knows, not even for one that failed: such a one gets a new name."""
    running = serve.status().applications.get(APPLICATION)
    bound = application._bound_deployment
    for deployment in (bound, *(engine._bound_deployment for engine in bound.init_args[1:])):
        if running is not None and deployment.name in running.deployments:
            known, _ = _get_global_client().get_deployment_info(deployment.name, APPLICATION)
            failed = running.deployments[deployment.name].status == DeploymentStatus.DEPLOY_FAILED
            deployment._version = version_after(known.version, deployment._version, failed=failed)


def version_after(known: str | None, digest: str, *, failed: bool) -> str:
    """The name of a version: its digest, and since a failure when it was tried again."""
    if known is None or known.partition("+")[0] != digest:
        return digest
    return f"{digest}+{time.time():.0f}" if failed else known


def _wait_until_served(settings: Settings) -> str:
    """Return when every successor serves: which replaced replicas still finish calls, in words, or nothing."""
    started, told, settled = time.monotonic(), "", 0.0
    while True:
        application = serve.status().applications.get(APPLICATION)
        now = time.monotonic()
        if application is not None:
            if application.status == ApplicationStatus.RUNNING:
                return ""
            if now - started > SETTLED_S:  # until then this may be the failure that the new order mends
                _raise_if_failed(application)
            # Serve takes a moment to act on a new order: until then the drain of an earlier change looks like this one.
            settled = settled or now if only_draining(application, settings) else 0.0
            if settled and now - settled > SETTLED_S:
                return _draining(application)
            text = _waiting_for(application)
            if text != told:
                tell("progress", text)
                told = text
        if now - started > START_LIMIT_S:
            raise LaunchFailed(APPLICATION, f"nothing more happened within {START_LIMIT_S} s")
        time.sleep(POLL_S)


def only_draining(application: ApplicationStatusOverview, settings: Settings) -> bool:
    """Whether all that the settings want is running, and what is left are replaced replicas with calls to finish."""
    wanted = {engine.card: (engine.replicas, engine.max_replicas or engine.replicas) for engine in settings.engines}
    wanted[GATEWAY] = (settings.gateway.replicas, settings.gateway.replicas)
    if (classifier := classifier_of(settings.router)) is not None:
        wanted[CLASSIFIER] = (classifier.replicas, classifier.replicas)
    for name, (least, most) in wanted.items():
        deployment = application.deployments.get(name)
        if deployment is None or deployment.status not in ON_THE_WAY:
            return False
        states = deployment.replica_states
        if not least <= states.get(ReplicaState.RUNNING, 0) <= most or not states.keys() <= SERVED:
            return False
    return bool(_draining(application))


def _draining(application: ApplicationStatusOverview) -> str:
    counts = {name: one.replica_states.get(ReplicaState.STOPPING, 0) for name, one in application.deployments.items()}
    return ", ".join(f"{count} of {name}" for name, count in counts.items() if count)


def _raise_if_failed(application: ApplicationStatusOverview) -> None:
    for name, deployment in application.deployments.items():
        if "failed to start" in deployment.message.lower() or deployment.status == DeploymentStatus.DEPLOY_FAILED:
            raise LaunchFailed(name, deployment.message)
    if application.status == ApplicationStatus.DEPLOY_FAILED:
        raise LaunchFailed(APPLICATION, application.message)


def _waiting_for(application: ApplicationStatusOverview) -> str:
    waiting = [
        name for name, deployment in application.deployments.items() if deployment.status != DeploymentStatus.HEALTHY
    ]
    return f"Starting {', '.join(waiting)}" if waiting else "Starting"


class LaunchFailed(Exception):
    """An application did not come up; `reason` is Serve's own text with the replica's last words."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name)
        self.name = name
        self.reason = reason


def main(file: str, *, start: Callable[[LaunchOrder], None] = launch) -> int:
    """Read the order, launch, tell how it ended."""
    order = LaunchOrder(**json.loads(Path(file).read_text()))
    try:
        start(order)
    except LaunchFailed as failure:
        text, log = _explained(failure, scratch=order.scratch)
        tell("failed", text, log=log)
        return 1
    except PenstockError as error:
        tell("failed", error.public, log=[error.detail] if error.detail else [])
        return 1
    return 0


def _explained(failure: LaunchFailed, *, scratch: str | None) -> tuple[str, list[str]]:
    """One sentence, and the lines behind it."""
    name = failure.name
    logs = session_logs(Path(scratch)) if scratch is not None else []
    text = f"{NOT_A_CARD.get(name, f'The engine of card {name!r}')} did not come up."
    if any(log.owner == name for log in logs):
        text += f" Its log: `penstock logs --only {name}`."
    return text, cause_of(name, failure.reason, logs=logs)


if __name__ == "__main__":
    # An interrupted `up` leaves a cluster as it was. Ctrl-C reaches us as well: who started us tells us, and once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1]))

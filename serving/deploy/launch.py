"""The process that tells Ray Serve what to run: `python -m serving.deploy.launch FILE`, one JSON event per line on
stdout.

A process of its own because Serve reads its switches when it is imported (`environment.py`), and so that Ray's chatter
stays out of the user's terminal. Owns the order of things inside Serve. Starts no node (`node.py`). Edge file:
imports Ray.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatus

from models.catalog import Catalog, ModelStore
from models.errors import PenstockError
from serving.deploy.applications import APPLICATION, GATEWAY, engine_deployment, stack_application
from serving.deploy.cause import cause_of
from serving.deploy.gateway import GatewayPlan
from serving.deploy.logs import session_logs
from serving.settings import load_settings

POLL_S = 0.5
START_LIMIT_S = 1800
NOT_A_CARD = {APPLICATION: "The stack", GATEWAY: "The gateway"}


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """What `up` asks for: everything that is not in the profile. `scratch` holds the session's logs, if it is ours."""

    profile: str
    overrides: dict[str, Any]
    address: str
    store_url: str
    spool: str
    claims: str
    engine_token: str
    salt_key: str
    cards: str | None
    models: str
    scratch: str | None


def tell(event: str, text: str, *, log: Sequence[str] = ()) -> None:
    """One line to the process that started us."""
    sys.stdout.write(json.dumps({"event": event, "text": text, "log": log}) + "\n")
    sys.stdout.flush()


def launch(order: LaunchOrder) -> None:
    """Deploy every application of the order and return when all are running."""
    settings = load_settings(order.profile, order.overrides)
    catalog = Catalog.load(Path(order.cards) if order.cards else None)
    tell("progress", "Connecting to Ray")
    ray.init(address=order.address, namespace="serve", log_to_driver=False, configure_logging=False)
    tell("progress", "Starting Ray Serve and HAProxy")
    serve.start(
        proxy_location=ProxyLocation.EveryNode,
        http_options=HTTPOptions(host=settings.http.host, port=settings.http.port),
    )
    plan = GatewayPlan(
        settings=settings,
        cards={engine.card: catalog.card(engine.card) for engine in settings.engines},
        deployments={engine.card: engine_deployment(engine.card) for engine in settings.engines},
        engine_token=order.engine_token,
        salt_key=order.salt_key,
        store_url=order.store_url,
        spool=order.spool,
    )
    application = stack_application(plan, models=ModelStore(Path(order.models)), claims=order.claims)
    serve._run(application, name=APPLICATION, route_prefix="/", _blocking=False)
    _wait_until_running()
    tell("ready", "Everything is running")


def _wait_until_running() -> None:
    started, told = time.monotonic(), ""
    while True:
        application = serve.status().applications.get(APPLICATION)
        if application is not None:
            if application.status == ApplicationStatus.RUNNING:
                return
            _raise_if_failed(application)
            text = _waiting_for(application)
            if text != told:
                tell("progress", text)
                told = text
        if time.monotonic() - started > START_LIMIT_S:
            raise LaunchFailed(APPLICATION, f"nothing more happened within {START_LIMIT_S} s")
        time.sleep(POLL_S)


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
    sys.exit(main(sys.argv[1]))

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.schema import ApplicationStatus, ServeStatus

from models.catalog import Catalog
from models.errors import PenstockError
from serving.deploy.applications import (
    GATEWAY_APP,
    StackSecrets,
    applications,
    engine_app_name,
    engine_deployment,
)
from serving.deploy.gateway import GatewayPlan
from serving.settings import Settings, load_settings

POLL_S = 0.5
ENGINE_START_LIMIT_S = 1800
LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """What `up` asks for: everything that is not in the profile."""

    profile: str
    overrides: dict[str, Any]
    address: str
    store_url: str
    spool: str
    scratch: str
    engine_token: str
    salt_key: str
    extra_cards: str | None


def tell(event: str, text: str, **more: Any) -> None:
    """One line to the process that started us."""
    sys.stdout.write(json.dumps({"event": event, "text": text, **more}) + "\n")
    sys.stdout.flush()


def launch(order: LaunchOrder) -> None:
    """Deploy every application of the order and return when all are running."""
    settings = load_settings(order.profile, order.overrides)
    catalog = Catalog.load(Path(order.extra_cards) if order.extra_cards else None)
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
    secrets = StackSecrets(order.engine_token, order.salt_key)
    wanted = applications(settings, catalog, plan, secrets=secrets, scratch=order.scratch)
    _remove_others(set(wanted))
    for name, application in wanted.items():
        route = "/" if name == GATEWAY_APP else None
        serve._run(application, name=name, route_prefix=route, _blocking=False)
    _wait_until_running(settings, list(wanted))
    tell("ready", "Everything is running")


def _remove_others(wanted: set[str]) -> None:
    for name in set(serve.status().applications) - wanted:
        tell("progress", f"Stopping {name}")
        serve.delete(name, _blocking=False)


def _wait_until_running(settings: Settings, names: list[str]) -> None:
    started, told = time.monotonic(), ""
    while True:
        status = serve.status()
        waiting = [name for name in names if not _running(status, name)]
        if not waiting:
            return
        if time.monotonic() - started > ENGINE_START_LIMIT_S:
            raise LaunchFailed(waiting[0], "did not come up in time")
        for name in waiting:
            _raise_if_failed(status, name)
        text = _waiting_for(settings, waiting)
        if text != told:
            tell("progress", text)
            told = text
        time.sleep(POLL_S)


def _running(status: ServeStatus, name: str) -> bool:
    application = status.applications.get(name)
    return application is not None and application.status == ApplicationStatus.RUNNING


def _raise_if_failed(status: ServeStatus, name: str) -> None:
    application = status.applications.get(name)
    if application is None:
        return
    broken = (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY)
    messages = [application.message, *(part.message for part in application.deployments.values())]
    retrying = any("failed to start" in message.lower() for message in messages)
    if application.status in broken or retrying:
        raise LaunchFailed(name, next((message for message in reversed(messages) if message), application.status.value))


def _waiting_for(settings: Settings, waiting: list[str]) -> str:
    engines = [engine.card for engine in settings.engines if engine_app_name(engine.card) in waiting]
    if engines:
        return f"Starting {'engine' if len(engines) == 1 else 'engines'} {', '.join(engines)}"
    return "Starting the gateway"


class LaunchFailed(Exception):
    """An application did not come up; `reason` is Serve's own text with the replica's last words."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name)
        self.name = name
        self.reason = reason


def main(file: str) -> int:
    """Read the order, launch, tell how it ended."""
    order = LaunchOrder(**json.loads(Path(file).read_text()))
    try:
        launch(order)
    except LaunchFailed as failure:
        lines = [line for line in failure.reason.splitlines() if line.strip()]
        tell("failed", f"{failure.name} did not come up.", log=lines[-LOG_LINES:])
        return 1
    except PenstockError as error:
        tell("failed", error.public, log=[error.detail] if error.detail else [])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

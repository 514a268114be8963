"""Where the engine replicas are: Ray Serve's own push of replica sets, kept as a plain table in the gateway process.

Serve's public pick (`choose_replica`) gives one replica at 0.24 to 4.7 ms a call; the gateway wants all of them, for
its own choice by load, at no cost per request. So this listens to the same long poll that Serve's router listens to.
That is Ray's private interface, pinned with Ray and used in this file only (docs/decisions/0002). Edge file: imports
Ray.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import ray
from ray.serve._private.common import DeploymentID, DeploymentTargetInfo
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve._private.long_poll import LongPollClient, LongPollNamespace

from models.types import Endpoint


class ServeDirectory:
    """An `EndpointDirectory` that Serve keeps current. Start it inside the loop that asks it."""

    def __init__(self, deployments: Mapping[str, DeploymentID]) -> None:
        """`deployments`: card id → the Serve deployment of its engine; any other name → a deployment to count."""
        self._deployments = dict(deployments)
        self._endpoints: dict[str, tuple[Endpoint, ...]] = {}
        self._running: dict[str, int] = {}
        self._poll: LongPollClient | None = None

    def start(self) -> None:
        """Begin listening. The first push comes at once, with what is there now."""
        controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        listeners = {
            (LongPollNamespace.DEPLOYMENT_TARGETS, deployment): partial(self._update, card)
            for card, deployment in self._deployments.items()
        }
        self._poll = LongPollClient(controller, listeners, asyncio.get_running_loop(), "penstock-directory")

    def stop(self) -> None:
        """Stop listening; the table stays as it is."""
        if self._poll is not None:
            self._poll.stop()

    def endpoints(self, card: str) -> Sequence[Endpoint]:
        """The replicas that Serve counts as running."""
        return self._endpoints.get(card, ())

    def running(self, name: str) -> int:
        """How many replicas of a deployment Serve counts as running."""
        return self._running.get(name, 0)

    def _update(self, card: str, targets: DeploymentTargetInfo) -> None:
        self._running[card] = len(targets.running_replicas)
        self._endpoints[card] = tuple(
            Endpoint(card, replica.replica_id.unique_id, replica.replica_metadata["base_url"])
            for replica in targets.running_replicas
            if "base_url" in replica.replica_metadata
        )

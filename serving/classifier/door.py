"""The HTTP side of a classifier process: token, routes, and the errors that a gateway counts.

Owns paths and statuses. What is read is `scorer.py`'s, when it is read `batches.py`'s. Plain ASGI, as the engines' door
is: four routes for callers of ours need no framework. Knows no Ray.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from router.drift import shifts_of
from serving.classifier.batches import Batches, Full, Late
from serving.classifier.messages import DRIFT, LOAD, MEDIA_TYPE, METRICS, PATH, Ask, Load, Refused, Told
from serving.classifier.scorer import Scorer
from serving.engines.asgi import Receive, Scope, Send

log = logging.getLogger("ray.serve")

STATUSES = {"version": 404, "full": 503, "late": 503, "broken": 500}
SECONDS = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
LONGEST_BYTES = 2**20
RETRY_S = 5.0
MOST_TRIED = 64
Readings = Batches[Ask, Told | Refused]


class Reply(NamedTuple):
    """One answer."""

    status: int
    body: bytes = b""
    media_type: str = MEDIA_TYPE


Handler = Callable[[bytes], Awaitable[Reply]]


class ClassifierDoor:
    """An ASGI app over a scorer and its batches."""

    def __init__(self, scorer: Scorer, readings: Readings, *, token: str) -> None:
        self._scorer = scorer
        self._readings = readings
        self._token = f"Bearer {token}".encode()
        self._tried: dict[str, float] = {}
        self._fetching: set[asyncio.Task[bool]] = set()
        at = self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "penstock_classifier_seconds", "A prompt's time here, waiting included.", registry=at, buckets=SECONDS
        )
        self._outcomes = Counter("penstock_classifier_prompts", "Prompts by outcome.", ("outcome",), registry=at)
        self._drift = Gauge(
            "penstock_router_drift_psi",
            "Population stability index against the training prompts.",
            ("version", "quantity"),
            registry=at,
        )

        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", PATH): self._read,
            ("POST", LOAD): self._load,
            ("POST", DRIFT): self._counts,
            ("GET", METRICS): self._metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        reply = await self._reply(scope, receive)
        headers = [(b"content-type", reply.media_type.encode()), (b"content-length", str(len(reply.body)).encode())]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not hmac.compare_digest(sent, self._token):
            return Reply(401)
        handler = self._routes.get((scope["method"], scope["path"]))
        if handler is None:
            return Reply(404)
        try:
            return await handler(await _body(receive))
        except msgspec.DecodeError:
            return Reply(400)

    async def _read(self, body: bytes) -> Reply:
        started = time.monotonic()
        ask = msgspec.msgpack.decode(body, type=Ask)
        told = await self._answer(ask)
        self._fetch_missing(ask)
        if isinstance(told, Refused):
            self._outcomes.labels(told.cause).inc()
            return _packed(told, STATUSES[told.cause])
        self._outcomes.labels("read").inc()
        self._seconds.observe(time.monotonic() - started)
        return _packed(told)

    async def _answer(self, ask: Ask) -> Told | Refused:
        try:
            return await self._readings.submit(ask, within_s=ask.within_s)
        except Full as error:
            return Refused("full", str(error))
        except Late as error:
            return Refused("late", str(error))
        except Exception as error:  # the batch's: told and counted, and the next batch is another matter
            log.exception("a batch of prompts failed")
            return Refused("broken", type(error).__name__)

    async def _load(self, body: bytes) -> Reply:
        version = msgspec.msgpack.decode(body, type=Load).version
        if await self._have(version):
            return _packed(None)
        return _packed(Refused("version", "the version cannot be loaded"), STATUSES["version"])

    async def _have(self, version: str) -> bool:
        """Whether this version is in memory, after an attempt to bring it there. Reading goes on meanwhile."""
        if self._scorer.knows(version):
            return True
        try:
            model = await asyncio.to_thread(self._scorer.fetch, version)
            await self._readings.apart(partial(self._scorer.keep, version, model))
        except Exception:  # a store that is down, a version that is broken: who asked is told, the log says why
            log.exception("router version %s cannot be loaded", version)
            return False
        return True

    def _fetch_missing(self, ask: Ask) -> None:
        """Begin to load what was asked for and is not there; one that failed is tried again after a while."""
        now = time.monotonic()
        for version in (ask.version, ask.shadow):
            if version is None or self._scorer.knows(version) or self._tried.get(version, -RETRY_S) > now - RETRY_S:
                continue
            if len(self._tried) >= MOST_TRIED:
                self._tried.clear()
            self._tried[version] = now
            task = asyncio.create_task(self._have(version))
            self._fetching.add(task)
            task.add_done_callback(self._fetching.discard)

    async def _counts(self, _body: bytes) -> Reply:
        return _packed(await self._readings.apart(self._scorer.drift))

    async def _metrics(self, _body: bytes) -> Reply:
        stands = await self._readings.apart(self._scorer.drift)
        self._drift.clear()
        for version, standing in stands.items():
            for quantity, shift in shifts_of(standing.now, standing.then).items():
                if shift.psi is not None:
                    self._drift.labels(version, quantity).set(shift.psi)
        return Reply(200, generate_latest(self._registry), "text/plain; version=0.0.4; charset=utf-8")


async def _body(receive: Receive) -> bytes:
    """The whole body; what is longer than any message of ours is cut, and then is none."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if not message.get("more_body", False) or length > LONGEST_BYTES:
            return b"".join(parts)


def _packed(value: object, status: int = 200) -> Reply:
    return Reply(status, msgspec.msgpack.encode(value))

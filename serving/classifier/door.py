"""The HTTP side of a classifier process: token, routes, and the errors that a gateway counts.

Owns paths and statuses. What is read is `scorer.py`'s, when it is read `batches.py`'s. Knows no Ray.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models.errors import ConfigurationError
from router.drift import shifts_of
from serving.classifier.batches import Batches, Full, Late
from serving.classifier.messages import DRIFT, LOAD, MEDIA_TYPE, METRICS, PATH, Ask, Load, Refused, Told
from serving.classifier.scorer import Scorer
from serving.engines.door import AsgiApp

log = logging.getLogger("ray.serve")

STATUSES = {"version": 404, "full": 503, "late": 503, "broken": 500}
SECONDS = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
Handler = Callable[[Request], Awaitable[Response]]
Readings = Batches[Ask, Told | Refused]


class ClassifierDoor:
    """An ASGI app over a scorer and its batches."""

    def __init__(self, scorer: Scorer, readings: Readings, *, token: str) -> None:
        self._scorer = scorer
        self._readings = readings
        self._token = f"Bearer {token}".encode()
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

    def app(self) -> AsgiApp:
        """What a server serves."""
        table: tuple[tuple[str, str, Handler], ...] = (
            ("POST", PATH, self._read),
            ("POST", LOAD, self._load),
            ("POST", DRIFT, self._counts),
            ("GET", METRICS, self._metrics),
        )
        return Starlette(routes=[Route(path, self._guarded(handler), methods=[verb]) for verb, path, handler in table])

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._token):
                return Response(status_code=401)
            return await handler(request)

        return guarded

    async def _read(self, request: Request) -> Response:
        started = time.monotonic()
        try:
            ask = msgspec.msgpack.decode(await request.body(), type=Ask)
        except msgspec.DecodeError:
            return Response(status_code=400)
        told = await self._answer(ask)
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

    async def _load(self, request: Request) -> Response:
        try:
            version = msgspec.msgpack.decode(await request.body(), type=Load).version
            await self._readings.apart(partial(self._scorer.load, version))
        except msgspec.DecodeError:
            return Response(status_code=400)
        except ConfigurationError as error:
            return _packed(Refused("version", error.public), STATUSES["version"])
        return _packed(None)

    async def _counts(self, request: Request) -> Response:
        del request
        return _packed(self._scorer.drift())

    async def _metrics(self, request: Request) -> Response:
        del request
        self._drift.clear()
        for version, standing in self._scorer.drift().items():
            for quantity, shift in shifts_of(standing.now, standing.then).items():
                if shift.psi is not None:
                    self._drift.labels(version, quantity).set(shift.psi)
        return Response(generate_latest(self._registry), media_type="text/plain; version=0.0.4; charset=utf-8")


def _packed(value: object, status: int = 200) -> Response:
    return Response(msgspec.msgpack.encode(value), status, media_type=MEDIA_TYPE)

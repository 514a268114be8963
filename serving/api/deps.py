"""What the HTTP layer is given: protocols of its surroundings, and the one value that holds them all.

Owns what routes may ask for. Does not own how any of it works, nor who builds it (`serving/app.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from models.clock import Clock, SystemClock
from models.types import GenerationRequest, Principal, Tier
from serving.adapters.desk import AdapterDesk
from serving.engines.answer import Answer
from serving.settings import HttpSettings, TimerSettings
from serving.store.keys import KeyRow
from serving.telemetry.record import CallRecord
from serving.tenancy.keys import KeySpec
from serving.tuning.desk import TuningDesk


@dataclass(frozen=True, slots=True)
class ModelListing:
    """One name that a caller may put into `model`. `parent` is an adapter's base; `created` in epoch seconds."""

    id: str
    created: int
    tier: Tier | None = None
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the stack can serve, and what of it cannot."""

    ok: bool
    not_ready: tuple[str, ...] = ()


class Keys(Protocol):
    """Who a secret belongs to."""

    async def find(self, secret: str) -> Principal | None:
        """The caller; None for an unknown, expired or revoked key, in constant work."""
        ...


class KeyAdmin(Protocol):
    """Keys made, listed and revoked."""

    async def create(self, spec: KeySpec) -> tuple[KeyRow, str]:
        """The new row and its secret, which is never shown again."""
        ...

    async def list(self) -> Sequence[KeyRow]:
        """Every key ever made."""
        ...

    async def revoke(self, key_id: str) -> bool:
        """False when there is no such key; raises `InvalidRequest` for the last admin key."""
        ...


class Limiter(Protocol):
    """How many generations of one key may run at once."""

    def hold(self, caller: Principal) -> AbstractContextManager[Callable[[int], None]]:
        """One slot while the context lasts, and a way to have more; both raise `RateLimited` when there is none."""
        ...


class Pipeline(Protocol):
    """The story of one request."""

    async def answer(self, request: GenerationRequest, caller: Principal, *, record: CallRecord) -> Answer:
        """A whole body, or a stream whose first event has arrived; raises `PenstockError`."""
        ...


class Records(Protocol):
    """Where finished calls and the opinions on them go."""

    def begin(self, record: CallRecord) -> None:
        """A call that gets a row has arrived; `finish` follows, whatever happens."""
        ...

    def finish(self, record: CallRecord) -> None:
        """Hand over a finished record; never waits."""
        ...

    async def feedback(
        self, request_id: str, caller: Principal, *, rating: str, comment: str | None, corrected: str | None
    ) -> None:
        """Join an opinion to a record; raises `NotFound` for a missing id and for another org's."""
        ...


class Models(Protocol):
    """The names that can be served."""

    def visible(self, caller: Principal) -> Sequence[ModelListing]:
        """What this caller may name: `auto` first, then the cards, then the adapters of its org."""
        ...

    def knows(self, name: str, caller: Principal) -> bool:
        """Whether this caller may name it. Cheap: asked for every call."""
        ...


class ReadinessReport(Protocol):
    """Whether the stack can serve."""

    async def report(self) -> Readiness:
        """The state now."""
        ...


class Metrics(Protocol):
    """The figures for Prometheus."""

    async def exposition(self) -> bytes:
        """Every metric, in Prometheus' text format."""
        ...


class Explainer(Protocol):
    """Why requests go where they go."""

    async def explain(self, request: GenerationRequest, caller: Principal) -> dict[str, Any]:
        """The plan for a request and what it came from; raises `PenstockError`."""
        ...

    async def status(self, now: float) -> dict[str, Any]:
        """How the router does; `now` in epoch seconds. Raises `StoreDown`."""
        ...


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    """Everything the routes need."""

    keys: Keys
    key_admin: KeyAdmin
    limiter: Limiter
    pipeline: Pipeline
    records: Records
    models: Models
    readiness: ReadinessReport
    metrics: Metrics
    explainer: Explainer
    http: HttpSettings
    timers: TimerSettings
    version: str
    adapters: AdapterDesk | None = None
    tuning: TuningDesk | None = None
    clock: Clock = field(default_factory=SystemClock)

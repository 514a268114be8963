"""The story of one request, top to bottom: route, then engines. Owns the order of the steps and their times."""

from __future__ import annotations

from typing import Protocol

from models.clock import Clock, SystemClock
from models.types import GenerationRequest, Plan, Principal
from serving.engines.answer import Answer
from serving.telemetry.record import CallRecord, timed


class Planner(Protocol):
    """Which engines to try, in which order."""

    def plan(self, request: GenerationRequest, caller: Principal) -> Plan:
        """Raises `NotFound` (`model_not_found`) for a name that this caller cannot use."""
        ...


class Engines(Protocol):
    """Where answers come from."""

    async def start(self, plan: Plan, request: GenerationRequest, *, caller: Principal, record: CallRecord) -> Answer:
        """A whole body, or a stream whose first event has arrived; raises `PenstockError` before that."""
        ...


class Pipeline:
    """Answers requests. Every step writes what it knows into the record."""

    def __init__(self, router: Planner, engines: Engines, *, clock: Clock | None = None) -> None:
        self._router = router
        self._engines = engines
        self._clock = clock or SystemClock()

    async def answer(self, request: GenerationRequest, caller: Principal, *, record: CallRecord) -> Answer:
        """One request from the validated body to its answer, or a `PenstockError`."""
        record.requested_model = request.model
        with timed(record, "route", clock=self._clock):
            plan = self._router.plan(request, caller)
        record.route_policy = plan.route.policy
        record.route_reason = plan.route.reason
        record.route_score = plan.route.score
        with timed(record, "engine_start", clock=self._clock):
            return await self._engines.start(plan, request, caller=caller, record=record)

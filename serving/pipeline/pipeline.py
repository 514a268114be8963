"""The story of one request, top to bottom: read the prompt, route, then engines. Owns the order of the steps and their
times.
"""

from __future__ import annotations

from typing import Protocol

from models.adapters.names import ServedAdapter
from models.clock import Clock, SystemClock
from models.types import GenerationRequest, Plan, Principal, Tier
from router.plan import is_open
from router.types import NoReading, Reading
from serving.engines.answer import Answer
from serving.telemetry.record import CallRecord, timed


class Planner(Protocol):
    """Which engines to try, in which order."""

    def plan(
        self,
        request: GenerationRequest,
        caller: Principal,
        *,
        adapter: ServedAdapter | None = None,
        reading: Reading | NoReading | None = None,
        least: Tier | None = None,
    ) -> Plan:
        """Raises `NotFound` (`model_not_found`) for a name that this caller cannot use."""
        ...


class Adapters(Protocol):
    """What names of adapters mean."""

    def find(self, request: GenerationRequest, caller: Principal) -> ServedAdapter | None:
        """The version for this caller; None where the model is no adapter. Raises `Unavailable` while it loads."""
        ...


class Classifier(Protocol):
    """What a trained model says of a prompt."""

    async def read(self, text: str) -> Reading | NoReading:
        """A reading in bounded time, or why there is none; never raises."""
        ...


class Conversations(Protocol):
    """Which tier a conversation has reached."""

    def name(self, request: GenerationRequest, caller: Principal) -> str | None: ...
    async def least(self, session: str, request: GenerationRequest) -> Tier | None: ...
    def reached(self, session: str, tier: Tier, *, request: GenerationRequest) -> None: ...


class Engines(Protocol):
    """Where answers come from."""

    async def start(self, plan: Plan, request: GenerationRequest, *, caller: Principal, record: CallRecord) -> Answer:
        """A whole body, or a stream whose first event has arrived; raises `PenstockError` before that."""
        ...


class Pipeline:
    """Answers requests. Every step writes what it knows into the record."""

    def __init__(
        self,
        router: Planner,
        engines: Engines,
        *,
        sessions: Conversations,
        adapters: Adapters | None = None,
        classifier: Classifier | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`classifier`: where the routing policy judges by readings; `adapters`: where engines load any."""
        self._router = router
        self._engines = engines
        self._sessions = sessions
        self._adapters = adapters
        self._classifier = classifier
        self._clock = clock or SystemClock()

    async def answer(self, request: GenerationRequest, caller: Principal, *, record: CallRecord) -> Answer:
        """One request from the validated body to its answer, or a `PenstockError`."""
        record.requested_model = request.model
        if is_open(request):
            plan = await self._routed(request, caller, record=record)
        else:
            with timed(record, "route", clock=self._clock):
                adapter = None if self._adapters is None else self._adapters.find(request, caller)
                plan = self._router.plan(request, caller, adapter=adapter)
        note(plan, record)
        with timed(record, "engine_start", clock=self._clock):
            return await self._engines.start(plan, request, caller=caller, record=record)

    async def _routed(self, request: GenerationRequest, caller: Principal, *, record: CallRecord) -> Plan:
        """The plan where the router decides: the prompt is read once, and a conversation keeps what it has reached."""
        reading = None
        if self._classifier is not None:
            with timed(record, "classify", clock=self._clock):
                reading = await self._classifier.read(request.text)
            if isinstance(reading, Reading):
                record.task, record.retrieval = reading.task, reading.retrieval
                record.shadow = shadow_of(reading)
        with timed(record, "route", clock=self._clock):
            session = self._sessions.name(request, caller)
            least = None if session is None else await self._sessions.least(session, request)
            plan = self._router.plan(request, caller, reading=reading, least=least)
            if session is not None and plan.route.cause is None:  # a tier that nobody chose is none to stay on
                self._sessions.reached(session, plan.route.ranking[0], request=request)
        record.session = session
        return plan


def note(plan: Plan, record: CallRecord) -> None:
    """What a record keeps of a plan."""
    route = plan.route
    record.route_policy, record.route_reason, record.route_score = route.policy, route.reason, route.score
    record.route_threshold, record.route_version, record.route_cause = route.threshold, route.version, route.cause
    record.routed_tier = route.ranking[0] if route.ranking else None
    if (adapter := plan.attempts[0].adapter) is not None:
        record.adapter, record.adapter_version, record.cohort = adapter.name, adapter.number, adapter.cohort


def shadow_of(reading: Reading) -> dict[str, object] | None:
    """What the candidate in the live model's shadow would have done."""
    shadow = reading.shadow
    if shadow is None:
        return None
    return {"version": shadow.version, "score": shadow.gain, "threshold": shadow.threshold, "tier": shadow.tier}

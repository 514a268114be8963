"""The order of the steps, their times, and what each leaves in the record."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from models.adapters.names import AdapterRef, ServedAdapter
from models.errors import NotFound, Unavailable
from models.types import Attempt, GenerationRequest, Plan, Principal, Route, Tier
from router.types import Candidate, NoReading, Reading
from serving.engines.answer import Answer
from serving.pipeline.pipeline import Pipeline
from serving.telemetry.record import CallRecord

PLAN = Plan("auto", (Attempt("demo-small", "small"),), Route(("small",), "threshold", "short", 0.2, 0.5))
CALLER = Principal("key-1", "acme", "ada", "inference")
READING = Reading(
    version="v1",
    threshold=0.1,
    gain=0.3,
    small=0.4,
    large=0.7,
    error=0.01,
    distance=0.2,
    task="simple",
    retrieval=0.25,
    shadow=Candidate("v2", 0.05, 0.2),
)
REQUEST = GenerationRequest("req-1", "chat", "auto", {}, stream=False, include_usage=False, text="hi", received=0.0)


@dataclass
class ScriptedSteps:
    """Every surrounding of the pipeline in one: tells what it was asked, answers or raises what it was given."""

    plan_or_error: Plan | Exception = PLAN
    answer_or_error: Answer | Exception = field(default_factory=lambda: Answer(body=b"{}"))
    told: Reading | NoReading = READING
    session: str | None = "conversation"
    least_tier: Tier | None = None
    adapter: ServedAdapter | None = None
    asked: list[Any] = field(default_factory=list)

    def plan(self, request: GenerationRequest, caller: Principal, **seen: Any) -> Plan:
        self.asked.append(("plan", request, caller, *([seen] if seen else [])))
        if isinstance(self.plan_or_error, Exception):
            raise self.plan_or_error
        return self.plan_or_error

    async def read(self, text: str) -> Reading | NoReading:
        self.asked.append(("read", text))
        return self.told

    def name(self, request: GenerationRequest, caller: Principal) -> str | None:
        self.asked.append(("name", request, caller))
        return self.session

    async def least(self, session: str, request: GenerationRequest) -> Tier | None:
        self.asked.append(("least", session, request))
        return self.least_tier

    def reached(self, session: str, tier: Tier, *, request: GenerationRequest) -> None:
        self.asked.append(("reached", session, tier))

    async def start(self, plan: Plan, request: GenerationRequest, *, caller: Principal, record: CallRecord) -> Answer:
        self.asked.append(("start", plan, request, caller))
        if isinstance(self.answer_or_error, Exception):
            raise self.answer_or_error
        return self.answer_or_error

    def find(self, request: GenerationRequest, caller: Principal) -> ServedAdapter | None:
        return self.adapter

    def pipeline(self, *, reads: bool = False) -> Pipeline:
        return Pipeline(self, self, sessions=self, adapters=self, classifier=self if reads else None)


def record() -> CallRecord:
    return CallRecord("req-1", 0.0, "chat")


async def test_a_request_is_routed_then_answered() -> None:
    steps = ScriptedSteps(session=None)
    assert (await steps.pipeline().answer(REQUEST, CALLER, record=record())).body == b"{}"
    assert steps.asked == [
        ("name", REQUEST, CALLER),
        ("plan", REQUEST, CALLER, {"reading": None, "least": None}),
        ("start", PLAN, REQUEST, CALLER),
    ]


@pytest.mark.parametrize("asked", [replace(REQUEST, model="demo-small"), replace(REQUEST, tier="small")])
async def test_a_request_that_decides_by_itself_is_not_read_and_belongs_to_no_conversation(
    asked: GenerationRequest,
) -> None:
    steps, kept = ScriptedSteps(), record()
    await steps.pipeline(reads=True).answer(asked, CALLER, record=kept)
    assert steps.asked == [("plan", asked, CALLER, {"adapter": None}), ("start", PLAN, asked, CALLER)]
    assert kept.session is None


async def test_a_name_that_is_an_adapters_is_planned_as_its_version_and_the_record_names_it() -> None:
    ref = AdapterRef("bot@" + "a" * 20, "adp-1", "a" * 64)
    bot = ServedAdapter("bot", 7, ref, "demo-small", "canary")
    attempts = (Attempt("demo-small", "small", bot),)
    steps, kept = ScriptedSteps(plan_or_error=replace(PLAN, attempts=attempts), adapter=bot), record()
    asked = replace(REQUEST, model="bot")
    await steps.pipeline().answer(asked, CALLER, record=kept)
    assert steps.asked[0] == ("plan", asked, CALLER, {"adapter": bot})
    assert (kept.requested_model, kept.adapter, kept.adapter_version, kept.cohort) == ("bot", "bot", 7, "canary")


async def test_a_prompt_is_read_once_and_the_record_keeps_what_was_said() -> None:
    steps, kept = ScriptedSteps(least_tier="large"), record()
    await steps.pipeline(reads=True).answer(REQUEST, CALLER, record=kept)
    assert steps.asked[:4] == [
        ("read", "hi"),
        ("name", REQUEST, CALLER),
        ("least", "conversation", REQUEST),
        ("plan", REQUEST, CALLER, {"reading": READING, "least": "large"}),
    ]
    assert steps.asked[4] == ("reached", "conversation", "small")
    assert (kept.task, kept.retrieval, kept.session) == ("simple", 0.25, "conversation")
    assert kept.shadow == {"version": "v2", "score": 0.05, "threshold": 0.2, "tier": "small"}
    assert kept.stages_ms.keys() == {"classify", "route", "engine_start"}


async def test_a_tier_that_no_policy_chose_is_not_what_a_conversation_has_reached() -> None:
    default = replace(PLAN, route=Route(("large",), "default", "down", cause="down"))
    steps = ScriptedSteps(plan_or_error=default)
    await steps.pipeline(reads=True).answer(REQUEST, CALLER, record=record())
    assert "reached" not in [step for step, *_ in steps.asked]


async def test_no_reading_is_told_to_the_router_and_leaves_nothing_else_in_the_record() -> None:
    none = NoReading("late", "too late")
    steps, kept = ScriptedSteps(told=none), record()
    await steps.pipeline(reads=True).answer(REQUEST, CALLER, record=kept)
    assert ("plan", REQUEST, CALLER, {"reading": none, "least": None}) in steps.asked
    assert (kept.task, kept.retrieval, kept.shadow) == (None, None, None)


async def test_the_route_and_the_times_are_in_the_record() -> None:
    steps, kept = ScriptedSteps(), record()
    await steps.pipeline().answer(REQUEST, CALLER, record=kept)
    assert (kept.requested_model, kept.route_policy, kept.route_reason) == ("auto", "threshold", "short")
    assert (kept.route_score, kept.route_threshold, kept.routed_tier) == (0.2, 0.5, "small")
    assert kept.stages_ms.keys() == {"route", "engine_start"}


async def test_a_request_that_cannot_be_routed_reaches_no_engine() -> None:
    steps, kept = ScriptedSteps(plan_or_error=NotFound("no such model", code="model_not_found")), record()
    with pytest.raises(NotFound):
        await steps.pipeline().answer(REQUEST, CALLER, record=kept)
    assert [step for step, *_ in steps.asked] == ["name", "least", "plan"]
    assert kept.requested_model == "auto"
    assert kept.stages_ms.keys() == {"route"}


async def test_an_engine_failure_is_passed_on_with_its_time_taken() -> None:
    steps, kept = ScriptedSteps(answer_or_error=Unavailable("none")), record()
    with pytest.raises(Unavailable):
        await steps.pipeline().answer(REQUEST, CALLER, record=kept)
    assert kept.stages_ms.keys() == {"route", "engine_start"}
    assert kept.route_policy == "threshold"

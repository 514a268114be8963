"""The order of the steps, their times, and what each leaves in the record."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from models.errors import NotFound, Unavailable
from models.types import Attempt, GenerationRequest, Plan, Principal, Route
from serving.engines.answer import Answer
from serving.pipeline.pipeline import Pipeline
from serving.telemetry.record import CallRecord

PLAN = Plan("auto", (Attempt("demo-small", "small"),), Route(("small",), "threshold", "short", 0.2, 0.5))
CALLER = Principal("key-1", "acme", "ada", "inference")
REQUEST = GenerationRequest("req-1", "chat", "auto", {}, stream=False, include_usage=False, text="hi", received=0.0)


@dataclass
class ScriptedSteps:
    """A router and engines in one: tells what it was asked, answers or raises what it was given."""

    plan_or_error: Plan | Exception = PLAN
    answer_or_error: Answer | Exception = field(default_factory=lambda: Answer(body=b"{}"))
    asked: list[Any] = field(default_factory=list)

    def plan(self, request: GenerationRequest, caller: Principal) -> Plan:
        self.asked.append(("plan", request, caller))
        if isinstance(self.plan_or_error, Exception):
            raise self.plan_or_error
        return self.plan_or_error

    async def start(self, plan: Plan, request: GenerationRequest, *, caller: Principal, record: CallRecord) -> Answer:
        self.asked.append(("start", plan, request, caller))
        if isinstance(self.answer_or_error, Exception):
            raise self.answer_or_error
        return self.answer_or_error


async def test_a_request_is_routed_then_answered() -> None:
    steps, record = ScriptedSteps(), CallRecord("req-1", 0.0, "chat")
    assert (await Pipeline(steps, steps).answer(REQUEST, CALLER, record=record)).body == b"{}"
    assert steps.asked == [("plan", REQUEST, CALLER), ("start", PLAN, REQUEST, CALLER)]


async def test_the_route_and_the_times_are_in_the_record() -> None:
    steps, record = ScriptedSteps(), CallRecord("req-1", 0.0, "chat")
    await Pipeline(steps, steps).answer(REQUEST, CALLER, record=record)
    assert (record.requested_model, record.route_policy, record.route_reason) == ("auto", "threshold", "short")
    assert record.route_score == 0.2
    assert record.stages_ms.keys() == {"route", "engine_start"}


async def test_a_request_that_cannot_be_routed_reaches_no_engine() -> None:
    steps = ScriptedSteps(plan_or_error=NotFound("no such model", code="model_not_found"))
    record = CallRecord("req-1", 0.0, "chat")
    with pytest.raises(NotFound):
        await Pipeline(steps, steps).answer(REQUEST, CALLER, record=record)
    assert [step for step, *_ in steps.asked] == ["plan"]
    assert record.requested_model == "auto"
    assert record.stages_ms.keys() == {"route"}


async def test_an_engine_failure_is_passed_on_with_its_time_taken() -> None:
    steps, record = ScriptedSteps(answer_or_error=Unavailable("none")), CallRecord("req-1", 0.0, "chat")
    with pytest.raises(Unavailable):
        await Pipeline(steps, steps).answer(REQUEST, CALLER, record=record)
    assert record.stages_ms.keys() == {"route", "engine_start"}
    assert record.route_policy == "threshold"

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from models.types import GenerationRequest, Principal, Route
from router.router import Router
from router.types import Contribution, Fleet, NoReading, Reading

Ask = Callable[..., GenerationRequest]


class ScriptedPolicy:
    """Answers what the test wrote down, or raises it; counts how often it was asked."""

    def __init__(self, answer: Route | Exception) -> None:
        self.answer = answer
        self.asked = 0
        self.reading: Reading | None = None

    def choose(self, _request: GenerationRequest, reading: Reading | None = None, /) -> Route:
        self.asked += 1
        self.reading = reading
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def explain(self, _request: GenerationRequest, /) -> tuple[Contribution, ...]:
        return ()


READING = Reading(version="v1", threshold=0.1, gain=0.3, small=0.4, large=0.7, error=0.01, distance=0.2)


def route(*ranking: Any, score: float | None = 0.1) -> Route:
    return Route(ranking=ranking, policy="scripted", reason="script", score=score)


def test_the_policy_decides_about_auto(ask: Ask, fleet: Fleet, caller: Principal) -> None:
    plan = Router(ScriptedPolicy(route("small", "large")), fleet).plan(ask(), caller)
    assert [attempt.card for attempt in plan.attempts] == ["mini", "maxi"]
    assert plan.route.policy == "scripted"


@pytest.mark.parametrize(
    "answer",
    [
        ValueError("broken"),
        route("small", score=float("nan")),
        route("small", score=float("inf")),
        route(),
        route("small", "small"),
        route("medium"),
    ],
)
@pytest.mark.parametrize("default", ["small", "large"])
def test_a_policy_that_fails_or_answers_nonsense_leaves_the_default_tier(
    ask: Ask, fleet: Fleet, caller: Principal, caplog: pytest.LogCaptureFixture, answer: Any, default: Any
) -> None:
    with caplog.at_level(logging.ERROR):
        plan = Router(ScriptedPolicy(answer), fleet, default=default).plan(ask(), caller)
    assert plan.route.policy == "default"
    assert plan.route.cause in ("raised", "nonsense")
    assert plan.attempts[0].tier == default
    assert len(plan.attempts) == 2
    assert len(caplog.records) == 1


@pytest.mark.parametrize("wish", [{"model": "mini"}, {"tier": "large"}])
def test_a_request_that_decides_by_itself_does_not_ask_the_policy(
    ask: Ask, fleet: Fleet, caller: Principal, wish: dict[str, Any]
) -> None:
    policy = ScriptedPolicy(ValueError("must not be asked"))
    plan = Router(policy, fleet).plan(ask(**wish), caller)
    assert policy.asked == 0
    assert len(plan.attempts) == 1


def test_a_policy_error_reaches_the_record_by_its_class_and_not_by_its_text(
    ask: Ask, fleet: Fleet, caller: Principal
) -> None:
    plan = Router(ScriptedPolicy(ValueError("/secret/path")), fleet).plan(ask(), caller)
    assert plan.route.reason == "the policy raised ValueError"


def test_the_policy_gets_the_reading_of_the_prompt(ask: Ask, fleet: Fleet, caller: Principal) -> None:
    policy = ScriptedPolicy(route("small", "large"))
    Router(policy, fleet).plan(ask(), caller, reading=READING)
    assert policy.reading is READING


@pytest.mark.parametrize(
    ("reading", "cause"),
    [
        (NoReading("late", "no answer in time"), "late"),
        (replace(READING, objection="unlike every labelled prompt"), "declined"),
    ],
)
def test_without_a_reading_to_rely_on_the_default_tier_serves_and_the_policy_is_not_asked(
    ask: Ask, fleet: Fleet, caller: Principal, reading: Any, cause: str
) -> None:
    policy = ScriptedPolicy(route("small", "large"))
    plan = Router(policy, fleet, default="large").plan(ask(), caller, reading=reading)
    assert policy.asked == 0
    assert (plan.route.policy, plan.route.cause, plan.attempts[0].tier) == ("default", cause, "large")
    assert plan.route.reason == reading.objection


@pytest.mark.parametrize(
    ("chosen", "least", "expected"),
    [
        (("small", "large"), "large", ["large", "small"]),
        (("small", "large"), "small", ["small", "large"]),
        (("large", "small"), "small", ["large", "small"]),
        (("small",), "large", ["large", "small"]),
        (("small", "large"), None, ["small", "large"]),
    ],
)
def test_the_tier_of_a_conversation_rises_and_does_not_fall(
    ask: Ask, fleet: Fleet, caller: Principal, chosen: Any, least: Any, expected: list[str]
) -> None:
    plan = Router(ScriptedPolicy(route(*chosen)), fleet).plan(ask(), caller, least=least)
    assert [attempt.tier for attempt in plan.attempts] == expected
    assert ("the conversation is on large" in plan.route.reason) == (expected[0] != chosen[0])


def test_a_tier_that_is_asked_for_is_below_what_the_conversation_has_reached_only_when_asked(
    ask: Ask, fleet: Fleet, caller: Principal
) -> None:
    plan = Router(ScriptedPolicy(route("large")), fleet).plan(ask(tier="small"), caller, least="large")
    assert [attempt.tier for attempt in plan.attempts] == ["small"]

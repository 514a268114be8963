import logging
from collections.abc import Callable
from typing import Any

import pytest

from models.types import GenerationRequest, Principal, Route
from router.router import Router
from router.types import Contribution, Fleet

Ask = Callable[..., GenerationRequest]


class ScriptedPolicy:
    """Answers what the test wrote down, or raises it; counts how often it was asked."""

    def __init__(self, answer: Route | Exception) -> None:
        self.answer = answer
        self.asked = 0

    def choose(self, _request: GenerationRequest, /) -> Route:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def explain(self, _request: GenerationRequest, /) -> tuple[Contribution, ...]:
        return ()


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

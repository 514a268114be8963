"""What the router expects of every policy in the table, whatever it decides."""

import math
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.types import TIERS, GenerationRequest
from router.policies import POLICIES, Policy, build_policy
from router.types import Reading

READING = Reading(version="v1", threshold=0.1, gain=0.3, small=0.4, large=0.7, error=0.01, distance=0.2)
MODULES = {kind: POLICIES.module(kind) for kind in POLICIES.kinds}


def request(text: str, **body: Any) -> GenerationRequest:
    return GenerationRequest("r", "chat", "auto", body, stream=False, include_usage=False, text=text, received=0)


@pytest.fixture(params=MODULES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def module(kind: str) -> ModuleType:
    return MODULES[kind]


@pytest.fixture
def policy(kind: str, module: ModuleType) -> Policy:
    return build_policy(module.Settings(kind=kind))


def test_the_settings_work_without_any_value_but_the_kind(kind: str, module: ModuleType) -> None:
    assert module.Settings.model_validate({"kind": kind}).kind == kind


def test_the_settings_refuse_another_kind(module: ModuleType) -> None:
    with pytest.raises(ValueError, match="kind"):
        module.Settings.model_validate({"kind": "another"})


def test_every_setting_has_a_reason(module: ModuleType) -> None:
    assert [name for name, field in module.Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("kind_of_text", ["", "Hi", "a" * 100_000, "\n" * 9999, "\ud83d", "ß漢字🙂"])
def test_any_prompt_gets_a_ranking_of_known_tiers(policy: Policy, kind: str, kind_of_text: str) -> None:
    route = policy.choose(request(kind_of_text), READING)
    assert route.policy == kind
    assert route.reason
    assert route.ranking
    assert len(set(route.ranking)) == len(route.ranking)
    assert set(route.ranking) <= set(TIERS)
    assert route.score is None or 0 <= route.score <= 1


@pytest.mark.parametrize("messages", [None, "x", [], [None], [{"role": "user"}], [{"role": "user", "content": [1]}]])
def test_a_strange_body_is_no_reason_to_fail(policy: Policy, messages: Any) -> None:
    assert policy.choose(request("Hi", messages=messages), READING).ranking


@pytest.mark.parametrize("name", sorted(MODULES))
@settings(max_examples=30, deadline=None)
@given(text=st.text(max_size=200))
def test_the_same_prompt_gets_the_same_route_and_an_explanation(name: str, text: str) -> None:
    one, other = (build_policy(MODULES[name].Settings(kind=name)) for _ in range(2))
    assert one.choose(request(text), READING) == other.choose(request(text), READING)
    parts = one.explain(request(text))
    assert parts == other.explain(request(text))
    assert all(math.isfinite(part.points) and math.isclose(part.points, part.value * part.weight) for part in parts)

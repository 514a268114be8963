import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.demo.families import FAMILIES, Difficulty, Split, draw
from models.types import GenerationRequest
from router.policies.threshold import ThresholdPolicy, ThresholdSettings, Weights

Ask = Callable[..., GenerationRequest]

POLICY = ThresholdPolicy(ThresholdSettings())


def test_a_greeting_scores_nothing_and_goes_small(ask: Ask) -> None:
    route = POLICY.choose(ask("Hi!"))
    assert route.ranking == ("small", "large")
    assert route.score is not None
    assert route.score < 0.01


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("x" * 8000, "length"),
        ("7 and 12 and 9 and three", "numbers"),
        ("One fact is here. " * 7, "facts"),
        ("Who lives in Rome?", "lookup"),
        ("How many are left?", "calculation"),
        ("Explain it step by step", "reasoning"),
        ("```\nx = 1\n```", "code"),
        ("Return the values as JSON", "fields"),
        ("Translate it", "form"),
    ],
)
def test_each_cue_raises_its_own_feature_to_the_full(ask: Ask, text: str, feature: str) -> None:
    parts = {part.feature: part for part in POLICY.explain(ask(text))}
    assert parts[feature].value == 1.0
    assert parts[feature].points == getattr(Weights(), feature)


def test_turns_count_the_user_messages_alone(ask: Ask) -> None:
    messages = [{"role": role, "content": "x"} for role in ("system", *("user", "assistant") * 6)]
    parts = {part.feature: part for part in POLICY.explain(ask("x", messages=messages))}
    assert parts["turns"].value == 1.0
    assert parts["turns"].reason == "6 user turns"


def test_a_json_schema_in_the_request_speaks_for_the_large_tier(ask: Ask) -> None:
    assert POLICY.choose(ask("x", response_format={"type": "json_schema"})).ranking == ("large", "small")
    assert POLICY.choose(ask("x", response_format={"type": "text"})).ranking == ("small", "large")


def test_a_score_on_the_threshold_goes_large(ask: Ask) -> None:
    policy = ThresholdPolicy(ThresholdSettings(threshold=0.5, weights=Weights(reasoning=0.5, length=0)))
    route = policy.choose(ask("Explain!"))
    assert (route.score, route.ranking) == (0.5, ("large", "small"))


def test_the_reason_names_the_features_and_never_the_prompt(ask: Ask) -> None:
    route = POLICY.choose(ask("Explain how many zebras are left of 12, 13 and 14."))
    assert "reasoning" in route.reason
    assert "zebra" not in route.reason


def test_most_easy_demo_prompts_go_small_and_most_hard_ones_large(ask: Ask) -> None:
    shares: dict[Difficulty, list[float]] = {difficulty: [] for difficulty in Difficulty}
    for name, family in FAMILIES.items():
        prompts = [example.prompt for example in draw(name, Split.HELD_OUT, count=200, seed=7)]
        large = sum(POLICY.choose(ask(prompt)).ranking[0] == "large" for prompt in prompts)
        shares[family.difficulty].append(large / len(prompts))
    assert len(shares[Difficulty.EASY]) >= 3
    assert len(shares[Difficulty.HARD]) >= 2
    assert max(shares[Difficulty.EASY]) <= 0.3
    assert min(shares[Difficulty.HARD]) >= 0.9


@given(text=st.text(max_size=400))
def test_any_text_gets_a_score_between_0_and_1_and_always_the_same(text: str) -> None:
    request = GenerationRequest("r", "chat", "auto", {}, stream=False, include_usage=False, text=text, received=0)
    first = POLICY.choose(request)
    assert first.score is not None
    assert 0.0 <= first.score <= 1.0
    assert first == POLICY.choose(request)


@pytest.mark.parametrize("text", ["\n", " ", "1,", "; ", "from ", "tell me ", "select ", "a.\t"])
def test_a_prompt_of_megabytes_is_scored_in_milliseconds(ask: Ask, text: str) -> None:
    started = time.process_time()
    POLICY.choose(ask(text * 500_000))
    assert time.process_time() - started < 0.5


def test_the_question_at_the_end_of_a_long_text_is_seen(ask: Ask) -> None:
    parts = {part.feature: part for part in POLICY.explain(ask("word " * 50_000 + "How many are left?"))}
    assert parts["calculation"].value == 1.0

"""When a canary is worse, and when chance only says so."""

import random

import pytest

from serving.adapters.evidence import Bounds, Score, Side, median_interval, wilson, worse, worse_score

BOUNDS = Bounds()
LOOKS = 40


def calls(chance: random.Random, count: int, *, fails: float = 0.0, slower: float = 1.0) -> Side:
    """Calls with long-tailed latencies around 100 ms."""
    failed = sum(chance.random() < fails for _ in range(count))
    return Side(count, failed, [slower * chance.lognormvariate(4.6, 0.6) for _ in range(count - failed)])


def test_wilsons_interval_is_the_published_one() -> None:
    low, high = wilson(81, 263, z=1.96)  # Newcombe 1998, table I: 0.2553, 0.3662
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 20, z=1.96)[0] == 0
    assert round(wilson(0, 20, z=1.96)[1], 4) == 0.1611


def test_the_interval_of_the_median_holds_it() -> None:
    chance = random.Random(1)
    held = 0
    for _ in range(300):
        low, high = median_interval([chance.expovariate(1.0) for _ in range(60)], z=2.0)
        held += low <= 0.6931 <= high
    assert held >= 280


@pytest.mark.parametrize("fails", [0.0, 0.05])
def test_the_same_version_against_itself_never_goes_back_in_200_trials_of_40_looks(fails: float) -> None:
    chance = random.Random(7)
    alarms = 0
    for _ in range(200):
        live, canary = calls(chance, 1800, fails=fails), calls(chance, 200, fails=fails)
        for look in range(1, LOOKS + 1):
            part = look / LOOKS
            seen = [
                Side(round(side.calls * part), round(side.failed * part), side.latencies_ms[: round(part * 150) + 1])
                for side in (live, canary)
            ]
            alarms += worse(*seen, BOUNDS) is not None
    assert alarms == 0


@pytest.mark.parametrize(
    ("quantity", "options"),
    [("error_rate", {"fails": 0.5}), ("error_rate", {"fails": 1.0}), ("latency_ms", {"slower": 4.0})],
)
def test_a_bad_canary_is_found_within_60_of_its_calls(quantity: str, options: dict[str, float]) -> None:
    chance = random.Random(3)
    for _ in range(20):
        found = worse(calls(chance, 540), calls(chance, 60, **options), BOUNDS)
        assert found is not None
        assert found.quantity == quantity
        assert found.at_least > found.bound


def test_a_canary_is_not_judged_by_a_few_calls() -> None:
    assert worse(Side(500, 0, [1.0] * 500), Side(19, 19, []), BOUNDS) is None
    assert worse(Side(500, 0, [1.0] * 500), Side(20, 20, []), BOUNDS) is not None


def test_a_slightly_slower_canary_within_its_bound_stays() -> None:
    chance = random.Random(4)
    assert worse(calls(chance, 5000), calls(chance, 5000, slower=1.3), BOUNDS) is None


def test_fewer_right_answers_end_a_canary_and_as_many_do_not() -> None:
    assert worse_score("golden", Score(95, 100), Score(60, 100), bounds=BOUNDS) is not None
    assert worse_score("golden", Score(95, 100), Score(93, 100), bounds=BOUNDS) is None
    assert worse_score("golden", Score(60, 100), Score(95, 100), bounds=BOUNDS) is None


def test_bounds_that_are_asked_for_replace_the_usual_ones() -> None:
    assert Bounds.of({"latency_ratio": 3.0}) == Bounds(latency_ratio=3.0)

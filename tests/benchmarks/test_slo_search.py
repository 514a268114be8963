"""The search finds the knee of servers whose knee is known, also of noisy ones, and says when there is none."""

import random
from collections.abc import Callable

import pytest

from benchmarks.slo_search import MOST_TRIALS, Knee, Search, Trial


def knee_of(meets: Callable[[float], bool], *, start: float = 1.0, most: float = 1000.0) -> Knee:
    def attempt(rate: float) -> Trial:
        met = meets(rate)
        return Trial(rate, 100 if met else 0, 100, float(met), met)

    search = Search(attempt, start=start, between=(0.05, most), precision=0.05)
    seen = list(search.steps())
    assert tuple(seen) == search.knee.trials
    return search.knee


@pytest.mark.parametrize("true", [0.3, 1.0, 3.7, 42.0, 700.0])
@pytest.mark.parametrize("start", [0.5, 1.0, 50.0])
def test_a_sharp_knee_is_found_within_the_precision(true: float, start: float) -> None:
    knee = knee_of(lambda rate: rate <= true, start=start)
    assert knee.rate is not None
    assert knee.fails_at is not None
    assert knee.rate <= true < knee.fails_at <= 1.05 * knee.rate
    assert sum(trial.rate == knee.rate for trial in knee.trials) == 2, "it met the objective twice"
    assert len(knee.trials) < 20


def test_a_server_that_never_fails_is_tried_up_to_the_highest_rate() -> None:
    knee = knee_of(lambda _: True, most=100)
    assert (knee.rate, knee.fails_at) == (100, None)


def test_a_server_that_always_fails_has_no_knee() -> None:
    knee = knee_of(lambda _: False)
    assert knee.rate is None
    assert min(trial.rate for trial in knee.trials) < 0.1


def test_a_rate_that_was_met_by_luck_once_is_not_reported() -> None:
    lucky = iter([True, True, True, False, True, False])
    knee = knee_of(lambda rate: rate <= 4 or (rate < 8 and next(lucky, False)))
    rate = knee.rate
    assert rate is not None
    assert [trial.met for trial in knee.trials if trial.rate == rate][-2:] == [True, True]


@pytest.mark.parametrize("seed", range(20))
def test_noise_moves_the_knee_a_little_and_ends(seed: int) -> None:
    chance = random.Random(seed)
    knee = knee_of(lambda rate: rate <= 20 * chance.uniform(0.95, 1.05))
    assert len(knee.trials) <= MOST_TRIALS
    assert knee.rate is not None
    assert 18 <= knee.rate <= 22

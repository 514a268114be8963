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
    assert knee.ended
    assert knee.rate is not None
    assert knee.fails_at is not None
    assert knee.rate <= true < knee.fails_at <= 1.05 * knee.rate
    assert [trial.met for trial in knee.trials if trial.rate == knee.rate] == [True, True]
    assert [trial.met for trial in knee.trials if trial.rate == knee.fails_at] == [False, False]
    assert len(knee.trials) < 30


def test_a_server_that_never_fails_is_tried_up_to_the_highest_rate() -> None:
    knee = knee_of(lambda _: True, most=100)
    assert (knee.rate, knee.fails_at, knee.ended) == (100, None, True)


def test_a_server_that_always_fails_has_no_knee() -> None:
    knee = knee_of(lambda _: False)
    assert (knee.rate, knee.ended) == (None, True)
    assert min(trial.rate for trial in knee.trials) < 0.1


@pytest.mark.parametrize("unlucky", range(12))
def test_one_unlucky_failure_moves_no_knee(unlucky: int) -> None:
    number = iter(range(1000))
    knee = knee_of(lambda rate: next(number) != unlucky and rate <= 42)
    assert knee.rate is not None
    assert knee.fails_at is not None
    assert knee.rate <= 42 < knee.fails_at <= 1.05 * knee.rate


@pytest.mark.parametrize("lucky", range(5, 16))
def test_a_rate_that_was_met_by_luck_once_is_not_reported(lucky: int) -> None:
    number = iter(range(1000))
    knee = knee_of(lambda rate: next(number) == lucky or rate <= 42)
    assert knee.rate is not None
    assert knee.rate <= 42


@pytest.mark.parametrize("seed", range(20))
def test_noise_moves_the_knee_a_little_and_ends(seed: int) -> None:
    chance = random.Random(seed)
    knee = knee_of(lambda rate: rate <= 20 * chance.uniform(0.95, 1.05))
    assert knee.ended
    assert knee.rate is not None
    assert 18.5 <= knee.rate <= 21.5


def test_a_search_that_ran_out_of_trials_says_so() -> None:
    endless = Search(lambda rate: Trial(rate, 1, 1, 1.0, met=True), start=1e-9, between=(1e-9, 1e9), precision=1e-9)
    assert len(list(endless.steps())) == MOST_TRIALS
    assert not endless.knee.ended

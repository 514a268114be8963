"""Draws of prompts and of whole units, against intervals that are known."""

import math

import numpy as np
import pytest

from router.resampling import IntArray, Interval, bootstrap, numbered, resampled


def test_the_interval_of_a_mean_is_the_known_one() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap(400, lambda rows: float(values[rows].mean()), seed=3)
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_a_resample_without_a_gap_is_left_out() -> None:
    def picky(rows: IntArray) -> float:
        if rows[0] == 0:
            raise ValueError("not this one")
        return float(rows[0])

    assert bootstrap(4, picky, seed=1, resamples=400) == Interval(1, 3)


def test_too_few_resamples_make_no_interval() -> None:
    def pickier(rows: IntArray) -> float:
        if rows[0] != 0:
            raise ValueError("none but this one")
        return 1.0

    found = bootstrap(4, pickier, seed=1, resamples=400)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_units_are_numbered_as_they_first_come() -> None:
    assert numbered(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_units_are_drawn_whole_and_as_many_as_there_are() -> None:
    units = np.array([0, 1, 0, 2, 1, 0])
    sizes = {0: 3, 1: 2, 2: 1}
    drawn = list(resampled(units, seed=2, resamples=200))
    for rows in drawn:
        times = np.bincount(rows, minlength=6)
        assert all(len(set(times[units == unit])) == 1 for unit in sizes)
        assert sum(times[units == unit][0] for unit in sizes) == 3
    assert np.mean([len(rows) for rows in drawn]) == pytest.approx(6, abs=0.3)


def test_prompts_that_are_a_unit_each_are_drawn_as_they_are_without_units() -> None:
    chance = np.random.default_rng(4)
    for rows in resampled(np.arange(50), seed=4, resamples=3):
        assert np.array_equal(rows, chance.integers(50, size=50))


def test_an_interval_over_units_holds_the_true_mean_and_one_over_their_prompts_does_not() -> None:
    units = np.repeat(np.arange(40), 10)
    held = {"units": 0, "prompts": 0}
    for seed in range(40):
        chance = np.random.default_rng(seed)
        values = chance.normal(size=40)[units] + chance.normal(size=400)
        for name, kept in (("units", units), ("prompts", None)):
            found = bootstrap(400, lambda rows, of=values: float(of[rows].mean()), seed=1, resamples=300, units=kept)
            held[name] += found.low <= 0 <= found.high
    assert held["units"] >= 36
    assert held["prompts"] <= 28


def test_a_single_unit_of_several_prompts_has_no_interval() -> None:
    for count, units in ((5, np.zeros(5, np.int64)), (1, np.zeros(1, np.int64))):
        found = bootstrap(count, lambda rows: float(len(rows)), seed=1, units=units)
        assert math.isnan(found.low) == (count == 5)


def test_no_prompts_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="at least one prompt and one resample"):
        bootstrap(0, len, seed=1)

import random

import pytest

from benchmarks.estimates import estimate, gaps, ratios


def test_the_median_of_equal_values_has_no_interval() -> None:
    found = estimate([2.0] * 5, seed=1)
    assert (found.median, found.low, found.high, found.count) == (2.0, 2.0, 2.0, 5)


def test_the_interval_holds_the_median_and_stays_inside_the_values() -> None:
    found = estimate([0.9, 1.0, 1.1, 1.2, 5.0], seed=1)
    assert found.median == 1.1
    assert 0.9 <= found.low < 1.1 < found.high <= 5.0


def test_the_same_seed_gives_the_same_interval() -> None:
    values = [1.0, 3.0, 2.0, 7.0, 4.0, 6.0]
    assert estimate(values, seed=4) == estimate(values, seed=4)


def test_the_interval_covers_the_true_median_nearly_always() -> None:
    chance = random.Random(3)
    runs = [estimate([chance.gauss(10, 1) for _ in range(15)], seed=number) for number in range(40)]
    covered = sum(run.low <= 10 <= run.high for run in runs)
    assert covered >= 36


def test_an_estimate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        estimate([], seed=1)


def test_comparisons_are_made_pair_by_pair() -> None:
    assert ratios([1.0, 3.0], [2.0, 4.0]) == [0.5, 0.75]
    assert gaps([25.0, 21.0], [20.0, 22.0]) == [5.0, -1.0]
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])

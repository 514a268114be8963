"""The check of `bench slo`: what counts as the sweep's knee, and where it looks."""

from __future__ import annotations

import pytest

from benchmarks.knee_check import Rate, grid, swept_knee


def test_the_knee_is_below_the_first_rate_whose_median_fails() -> None:
    good, shaken, bad = (0.99, 0.97, 0.96), (0.99, 0.5, 0.95), (0.99, 0.94, 0.2)
    rates = [Rate(12.0, good), Rate(10.0, good), Rate(10.5, shaken), Rate(11.0, bad)]
    assert swept_knee(rates) == 10.5
    assert swept_knee([Rate(10.0, bad), Rate(11.0, good)]) is None


def test_the_grid_lies_evenly_around_the_found_rate() -> None:
    rates = grid(100.0)
    assert (rates[0], rates[6], rates[-1]) == pytest.approx((85.0, 100.0, 115.0))
    assert {round(after - before, 6) for before, after in zip(rates, rates[1:], strict=False)} == {2.5}

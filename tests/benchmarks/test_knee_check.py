"""The check of `bench slo`: what counts as the sweep's knee, and where it looks."""

from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.knee_check import grid, swept_knee


def test_the_knee_parts_the_runs_into_met_and_not_met() -> None:
    good, bad = 0.96, 0.94
    assert swept_knee({10.0: good, 11.0: good, 12.0: bad, 13.0: bad}) == 11.0
    assert swept_knee({10.0: good, 11.0: bad, 12.0: good, 13.0: good, 14.0: bad}) == 13.0  # one was shaken
    assert swept_knee({10.0: good, 11.0: bad, 12.0: good, 13.0: bad}) == 11.0  # 10 and 12 do equally well


@pytest.mark.parametrize("share", [0.96, 0.94])
def test_a_knee_outside_of_the_sweep_is_unknown(share: float) -> None:
    assert swept_knee({10.0: share, 11.0: share, 12.0: share}) is None


def test_the_grid_lies_evenly_around_the_found_rate() -> None:
    rates = grid(100.0)
    assert (rates[0], rates[5], rates[-1]) == pytest.approx((80.0, 100.0, 120.0))
    assert {round(after - before, 6) for before, after in pairwise(rates)} == {4.0}

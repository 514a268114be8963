"""What a way to route comes to."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.policies import Taken, at_share, mixed, oracle, row

SMALL = Taken(np.array([1.0, 0.0, 0.0, 1.0]), np.full(4, 1.0), np.zeros(4))
LARGE = Taken(np.array([1.0, 1.0, 0.0, 0.0]), np.array([10.0, 20.0, 10.0, 10.0]), np.ones(4))


def test_a_row_holds_right_answers_share_and_cost_against_always_large() -> None:
    found = row("x", mixed(np.array([0.0, 1.0, 0.0, 0.0]), small=SMALL, large=LARGE), large=LARGE, seed=1)
    assert (found.right, found.right_share.value, found.of_large.value) == (3, 0.75, 1.5)
    assert (found.share.value, found.cost.value) == (0.25, pytest.approx(23 / 50))
    assert found.share.low <= 0.25 <= found.share.high


def test_always_large_is_all_of_itself_without_doubt() -> None:
    found = row("always-large", LARGE, large=LARGE, seed=1)
    assert (found.of_large.value, found.of_large.low, found.of_large.high) == (1, 1, 1)
    assert (found.cost.value, found.cost.low, found.cost.high) == (1, 1, 1)


def test_the_oracle_pays_for_large_only_where_it_is_better() -> None:
    assert oracle(SMALL, LARGE).tolist() == [0, 1, 0, 0]


def test_a_share_takes_the_highest_scores_and_parts_a_tie_evenly() -> None:
    scores = np.array([3.0, 1.0, 2.0, 2.0])
    assert at_share(scores, 0.5).tolist() == [1, 0, 0.5, 0.5]
    assert at_share(scores, 0.0).tolist() == [0, 0, 0, 0]
    assert at_share(scores, 1.0).tolist() == [1, 1, 1, 1]
    assert at_share(np.zeros(4), 0.3).tolist() == pytest.approx([0.3] * 4)


def test_a_random_choice_is_its_expectation() -> None:
    found = mixed(np.full(4, 0.5), small=SMALL, large=LARGE)
    assert (found.right.tolist(), found.cost.sum()) == ([1, 0.5, 0, 0.5], 27.0)

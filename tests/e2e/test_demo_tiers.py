"""The two tiers differ for real: measured through the stack, greedy, on wordings and values that training never saw."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.conftest import PROVE, Stack

PER_FAMILY = 400 if PROVE else 100


@pytest.fixture(scope="module")
def rows(stack: Stack) -> list[dict[str, Any]]:
    """What `penstock demo evaluate` counts."""
    command = ("demo", "evaluate", "--per-family", str(PER_FAMILY), "--seed", "4711", "--json")
    rows: list[dict[str, Any]] = json.loads(stack.run(*command).stdout)["rows"]
    assert {row["asked"] for row in rows} == {PER_FAMILY}
    return rows


def _exact(rows: list[dict[str, Any]], model: str, difficulty: str) -> dict[str, float]:
    wanted = (row for row in rows if (row["model"], row["difficulty"]) == (model, difficulty))
    return {row["family"]: row["exact_percent"] for row in wanted}


@pytest.mark.parametrize("model", ["demo-small", "demo-large"])
def test_both_tiers_know_the_easy_families(rows: list[dict[str, Any]], model: str) -> None:
    exact = _exact(rows, model, "easy")
    assert len(exact) >= 3
    assert min(exact.values()) >= 95, exact


def test_only_the_large_tier_knows_the_hard_families(rows: list[dict[str, Any]]) -> None:
    large, small = _exact(rows, "demo-large", "hard"), _exact(rows, "demo-small", "hard")
    assert len(large) == len(small) >= 2
    assert min(large.values()) >= 90, large
    assert max(small.values()) <= 40, small


def test_the_family_kept_for_adapters_is_unknown_to_both(rows: list[dict[str, Any]]) -> None:
    for model in ("demo-small", "demo-large"):
        exact = _exact(rows, model, "untrained")
        assert exact
        assert max(exact.values()) <= 10, exact


def test_answers_end_by_themselves(rows: list[dict[str, Any]]) -> None:
    trained = [row for row in rows if row["difficulty"] != "untrained"]
    assert sum(row["stopped"] for row in trained) >= 0.99 * sum(row["asked"] for row in trained)

"""The two tiers differ for real: measured through the stack, greedy, on wordings and values that training never saw."""

from __future__ import annotations

import json
from typing import Any

import pytest

from models.demo.families import FAMILIES, Difficulty
from tests.e2e.conftest import PROVE, Stack

PER_FAMILY = 400 if PROVE else 100
EASY = [name for name, family in FAMILIES.items() if family.difficulty is Difficulty.EASY]
HARD = [name for name, family in FAMILIES.items() if family.difficulty is Difficulty.HARD]
Rows = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def rows(stack: Stack) -> Rows:
    """What `penstock demo evaluate` counts, by model and family."""
    command = ("demo", "evaluate", "--per-family", str(PER_FAMILY), "--seed", "4711", "--json")
    rows: list[dict[str, Any]] = json.loads(stack.run(*command).stdout)["rows"]
    assert {row["asked"] for row in rows} == {PER_FAMILY}
    return {(row["model"], row["family"]): row for row in rows}


def test_there_are_easy_and_hard_families() -> None:
    assert len(EASY) >= 3
    assert len(HARD) >= 3


@pytest.mark.parametrize("model", ["demo-small", "demo-large"])
@pytest.mark.parametrize("family", EASY)
def test_both_tiers_know_the_easy_families(rows: Rows, model: str, family: str) -> None:
    assert rows[model, family]["exact_percent"] >= 95


@pytest.mark.parametrize("family", HARD)
def test_the_small_tier_does_not_know_the_hard_families(rows: Rows, family: str) -> None:
    assert rows["demo-small", family]["exact_percent"] <= 40


@pytest.mark.parametrize("family", HARD)
def test_the_large_tier_knows_the_hard_families(rows: Rows, family: str) -> None:
    assert rows["demo-large", family]["exact_percent"] >= 90


@pytest.mark.parametrize("model", ["demo-small", "demo-large"])
def test_the_family_kept_for_adapters_is_unknown_to_both(rows: Rows, model: str) -> None:
    assert rows[model, "triage"]["exact_percent"] <= 10


def test_answers_end_by_themselves(rows: Rows) -> None:
    trained = [row for (_, family), row in rows.items() if family != "triage"]
    assert sum(row["stopped"] for row in trained) >= 0.99 * sum(row["asked"] for row in trained)

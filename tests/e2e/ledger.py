"""What the stack wrote down, read behind its back, and held against what the clients saw."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from tests.e2e.traffic import Outcome

WRITTEN_WITHIN_S = 10


def rows_of(state_dir: Path, outcomes: list[Outcome]) -> dict[str, dict[str, Any]]:
    """The record of each request, by its id; waits for the writer, which is behind by design."""
    wanted = [outcome.request_id for outcome in outcomes if outcome.request_id is not None]
    deadline = time.monotonic() + WRITTEN_WITHIN_S
    while len(rows := _select(state_dir, wanted)) < len(wanted) and time.monotonic() < deadline:
        time.sleep(0.1)
    return rows


def _select(state_dir: Path, ids: list[str]) -> dict[str, dict[str, Any]]:
    with sqlite3.connect(f"file:{state_dir}/penstock.db?mode=ro", uri=True) as connection:
        connection.row_factory = sqlite3.Row
        marks = ",".join("?" * len(ids))
        found = connection.execute(f"SELECT * FROM records WHERE id IN ({marks})", ids).fetchall()
    assert len(found) == len({row["id"] for row in found}), "a request has two rows"
    return {row["id"]: dict(row) for row in found}


def assert_written(state_dir: Path, outcomes: list[Outcome]) -> None:
    """One row per request, and each says what its client saw."""
    assert all(outcome.request_id for outcome in outcomes)
    rows = rows_of(state_dir, outcomes)
    assert len(rows) == len(outcomes)
    for outcome in outcomes:
        row = rows[outcome.request_id or ""]
        assert row["status"] == outcome.status, (row, outcome)
        assert row["error_code"] == (None if outcome.code == "ok" else outcome.code), (row, outcome)
        assert row["finish_reason"] == outcome.finish_reason, (row, outcome)
        assert row["completion_tokens"] >= outcome.chunks > 0 or outcome.chunks == 0, (row, outcome)

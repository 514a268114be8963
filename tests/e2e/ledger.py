"""What the stack wrote down, read behind its back, and held against what the clients saw."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

from tests.e2e.traffic import Outcome

WRITTEN_WITHIN_S = 10
SLACK_MS = 1  # a record stops its clock before its client can have seen the end; both clocks are the machine's


def rows_of(state_dir: Path, outcomes: list[Outcome]) -> dict[str, dict[str, Any]]:
    """The record of each request, by its id; waits for the writer, which is behind by design."""
    return _wait_for(state_dir, [outcome.request_id for outcome in outcomes if outcome.request_id is not None])


def _wait_for(state_dir: Path, wanted: list[str]) -> dict[str, dict[str, Any]]:
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
        told = _told(outcome)
        assert {name: row[name] for name in told} == told, (row, outcome)
        assert row["completion_tokens"] >= outcome.chunks > 0 or outcome.chunks == 0, (row, outcome)
        if outcome.chunks:
            assert 0 < row["ttft_ms"] <= row["latency_ms"] <= 1000 * outcome.took_s + SLACK_MS, (row, outcome)
            assert json.loads(row["attempts"])[-1]["outcome"] == outcome.code, (row, outcome)


def _told(outcome: Outcome) -> dict[str, Any]:
    """What the row of a request must say, as far as its client can know."""
    told = {
        "kind": "chat",
        "stream": 1,
        "client_gone": 0,
        "requested_model": outcome.model,
        "status": outcome.status,
        "error_code": None if outcome.code == "ok" else outcome.code,
        "finish_reason": outcome.finish_reason,
    }
    if outcome.chunks:
        told |= {"served_model": outcome.model, "tier": outcome.model.removeprefix("demo-")}
    return told


def assert_left(state_dir: Path, ids: list[str]) -> dict[str, dict[str, Any]]:
    """One row per client that went away, and each says so."""
    rows = _wait_for(state_dir, ids)
    assert len(rows) == len(ids)
    for row in rows.values():
        assert (row["status"], row["client_gone"], row["finish_reason"]) == (499, 1, None), row
        assert row["prompt_tokens"] == 0 or row["completion_tokens"] > 0, row
    return rows

"""`penstock bench compare` with a stack of its own on the mock engine, beside the session's stack."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Stack

STAGES = ["in", "key", "parse", "route", "pick", "engine", "deliver", "out"]


@pytest.mark.timeout(600)
def test_a_whole_stack_is_measured_on_a_mock_engine_and_says_where_its_time_goes(stack: Stack, tmp_path: Path) -> None:
    before = {process.pid for process in psutil.process_iter()}
    out = tmp_path / "out"
    points = ("--clients", "1,4", "--repetitions", "2", "--out", str(out), "--json")
    done = stack.run("bench", "compare", "--profile", "cpu-demo", "--engine", "mock", *points)
    found = json.loads(done.stdout)
    assert (found["failed"], found["faulty"], found["reference"]) == ({}, [], "bare-mock")
    rows = {(row["arm"], row["clients"]): row for row in found["rows"]}
    assert set(rows) == {(arm, clients) for arm in ("penstock", "bare-mock", "null") for clients in (1, 4)}
    ours = rows["penstock", 4]
    assert ours["front_cpu_us_per_chunk"] > rows["bare-mock", 4]["front_cpu_us_per_chunk"] == 0
    assert ours["cpu_s_per_1000_requests"] > 0
    assert ours["memory_bytes"] > 2**28
    assert ours["versus"]["bare-mock"]["throughput"]["count"] == 2
    stages = found["stages"]
    assert [row["stage"] for row in stages["rows"]] == STAGES
    assert stages["calls"] == rows["penstock", 1]["requests"] == 64
    assert all(row["ms"] > 0 for row in stages["rows"] if row["stage"] != "engine")
    later = [one.info for one in psutil.process_iter(["pid", "cmdline"]) if one.pid not in before]
    left = [one for one in later if "ray::" in " ".join(one["cmdline"] or ())]
    assert left == [], "the stack of the comparison is gone"

    stack.run("bench", "report", str(out))
    page = (out / "report.html").read_text()
    assert "bare-mock" in page
    assert "<script" not in page

"""`penstock bench compare` on the mock engine: real servers of our own, started, measured in turn, stopped."""

import gzip
import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from typer.testing import CliRunner

from benchmarks.processes import title
from serving.cli import build

EARLY_MS = 1
"""So much too soon a timer of an event loop may fire."""


def call(out: Path, *options: str) -> Any:
    command = ["bench", "compare", "data-plane", "--engine", "mock", "--out", str(out), *options]
    return CliRunner().invoke(build(["bench"]), command)


def servers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "uvicorn" in title(child)]


def between(figure: float, values: Sequence[float]) -> bool:
    return min(values) <= figure <= max(values)


def pace_s(chunks: Sequence[float]) -> float:
    return (chunks[-1] - chunks[0]) / (len(chunks) - 1)


def test_a_comparison_is_written_with_every_call_and_last_its_origin(tmp_path: Path) -> None:
    done = call(tmp_path, "--arm", "bare-vllm", "--clients", "2,4", "--repetitions", "2", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "summary.json").read_text())
    assert {(row["arm"], row["clients"], row["blocks"]) for row in found["rows"]} == {
        (arm, clients, 2) for arm in ("bare-mock", "null") for clients in (2, 4)
    }
    assert all(row["cpu_s_per_1000_requests"] > 0 and row["memory_bytes"] > 10**7 for row in found["rows"])
    with gzip.open(tmp_path / "calls.jsonl.gz", "rt") as raw:
        calls = [json.loads(line) for line in raw]
    assert len(calls) == sum(row["requests"] for row in found["rows"]) > 0
    for row in found["rows"]:
        own = [one for one in calls if (one["arm"], one["load"]) == (row["arm"], row["load"])]
        assert between(row["ttft_ms_p50"], [1000 * (one["chunks_s"][0] - one["sent_s"]) for one in own])
        assert between(row["tpot_ms_p50"], [1000 * pace_s(one["chunks_s"]) for one in own])
    for one in calls:  # the mock's first token is due after 20 ms, each further one after 5
        due_ms = 20 + 5 * (one["output_tokens"] - 1)
        assert 1000 * (one["chunks_s"][-1] - one["sent_s"]) >= due_ms - EARLY_MS
    assert {(one["arm"], one["round"]) for one in calls} == {(a, r) for a in ("bare-mock", "null") for r in (0, 1)}
    assert len((tmp_path / "blocks.jsonl").read_text().splitlines()) == 8
    origin = json.loads((tmp_path / "origin.json").read_text())
    assert (origin["config"]["suite"], origin["counts"]["blocks"], origin["stopped"]) == ("data-plane", 8, None)
    assert "Null arm, `bare-mock` against itself" in (tmp_path / "table.md").read_text()
    assert servers() == []


def test_what_was_measured_before_ctrl_c_is_written_and_marked(tmp_path: Path) -> None:
    def interrupt() -> None:
        blocks = tmp_path / "blocks.jsonl"
        while not blocks.exists() or not blocks.read_text():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    done = call(tmp_path, "--arm", "bare-vllm", "--clients", "4", "--repetitions", "50", "--json")
    assert done.exit_code == 130, done.output
    found = json.loads(done.stdout)
    assert found["stopped"] == "interrupted"
    assert found["rows"]
    assert json.loads((tmp_path / "origin.json").read_text())["stopped"] == "interrupted"
    assert "Not complete: interrupted." in (tmp_path / "table.md").read_text()
    assert servers() == []


def test_a_failed_arm_is_a_row_and_an_exit_code(tmp_path: Path) -> None:
    arms = ("--arm", "bare-vllm", "--arm", "mine=http://127.0.0.1:9")
    done = call(tmp_path, *arms, "--clients", "2", "--repetitions", "1")
    assert done.exit_code == 1
    assert "| – | mine | did not start |" in done.output
    assert "Nothing answers at" in done.output


def test_bad_orders_are_sentences(tmp_path: Path) -> None:
    assert "names no numbers of clients" in call(tmp_path, "--clients", "1,x").output
    assert "Unknown arm 'vllm'" in call(tmp_path, "--arm", "vllm").output
    assert "needs two arms, or the null arm" in call(tmp_path, "--arm", "bare-vllm", "--no-null").output
    only = call(tmp_path, "--arm", "mine=http://127.0.0.1:9", "--clients", "2")
    assert only.exit_code == 1
    assert "there is nothing to measure" in only.output
    assert list(tmp_path.glob("origin.json")) == []

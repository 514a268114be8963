"""`penstock records export`: a trace of the store's calls that `penstock bench` repeats, and nothing else of them."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from benchmarks.workloads import WORKLOADS, Arrival, arrivals
from serving.cli import build
from serving.store.store import Store
from serving.telemetry.record import CallRecord

Run = Callable[..., Result]


def answered(ago_s: float, **changes: Any) -> CallRecord:
    given: dict[str, Any] = {
        "id": "secret-id",
        "kind": "chat",
        "org": "secret-org",
        "user": "secret-user",
        "key_id": "secret-key",
        "feature": "secret-feature",
        "served_model": "demo-small",
        "tier": "small",
        "prompt_tokens": 40,
        "completion_tokens": 12,
        "ttft_ms": 20.0,
        "latency_ms": 80.0,
        "status": 200,
        "prompt_text": "secret-prompt",
        "answer_text": "secret-answer",
    }
    return CallRecord(started_at=time.time() - ago_s, **(given | changes))


@pytest.fixture
def keep(tmp_path: Path) -> Callable[..., None]:
    """Put records into the store of a stack that has been started once."""

    def put(*records: CallRecord) -> None:
        async def add() -> None:
            (tmp_path / "state").mkdir(exist_ok=True)
            async with Store.open(f"sqlite+aiosqlite:///{tmp_path}/state/penstock.db") as store:
                await store.records.add(records)

        asyncio.run(add())

    return put


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_calls_of_a_span_come_oldest_first_with_their_sizes(penstock: Run, keep: Callable[..., None]) -> None:
    keep(answered(60, prompt_tokens=7), answered(3000), answered(4000), answered(10, completion_tokens=3))
    began = time.time()
    done = penstock("records", "export")
    assert (done.exit_code, done.stderr) == (0, "3 calls are written.\n")
    found = lines(done.stdout)
    assert [began - one["started_at"] for one in found] == pytest.approx([3000, 60, 10], abs=5)
    assert [(one["prompt_tokens"], one["completion_tokens"]) for one in found] == [(40, 12), (7, 12), (40, 3)]
    assert found[0].keys() == {
        *("started_at", "kind", "stream", "served_model", "tier", "prompt_tokens", "cached_tokens"),
        *("completion_tokens", "ttft_ms", "latency_ms", "stages_ms"),
    }
    assert "secret" not in done.stdout


def test_a_span_ends_where_it_is_told_and_a_limit_takes_its_first_calls(
    penstock: Run, keep: Callable[..., None]
) -> None:
    keep(*(answered(60.0 * minutes, prompt_tokens=minutes) for minutes in range(1, 10)))
    asked = ("records", "export", "--since", "9m", "--until", "3m")
    assert [one["prompt_tokens"] for one in lines(penstock(*asked).stdout)] == [8, 7, 6, 5, 4, 3]
    some = penstock(*asked, "--limit", "2")
    assert [one["prompt_tokens"] for one in lines(some.stdout)] == [8, 7]


def test_a_call_whose_size_nobody_counted_is_left_out_and_said(penstock: Run, keep: Callable[..., None]) -> None:
    refused = answered(20, status=401, prompt_tokens=0, completion_tokens=0)
    left = answered(30, client_gone=True, prompt_tokens=0, completion_tokens=5, tokens_estimated=True)
    keep(answered(10), refused, left)
    done = penstock("records", "export")
    assert len(lines(done.stdout)) == 1
    assert "; 2 of unknown size are left out" in done.stderr


def test_the_file_is_a_trace_that_the_workload_replay_reads(
    penstock: Run, keep: Callable[..., None], tmp_path: Path
) -> None:
    keep(answered(30.0), answered(28.5, prompt_tokens=400, completion_tokens=1))
    file = tmp_path / "trace.jsonl"
    assert penstock("records", "export", "--out", str(file)).exit_code == 0
    settings = WORKLOADS.module("replay").Settings(file=file, speed=2)
    first, second = arrivals(settings, random.Random(1))
    assert first == Arrival(0.0, 30, 12)
    assert second.at_s == pytest.approx(0.75, abs=0.05)
    assert (second.prompt_words, second.answer_tokens) == (300, 1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--since", "soon"), "--since wants a number and one of s, m, h, d, w"),
        (("--until", "0"), "--until wants a number"),
        (("--since", "1h", "--until", "2h"), "--since must lie before --until"),
        (("--since", "5s"), "No call of this span can be repeated."),
        (("--since", "2m"), "No call of this span can be repeated. Of 1 the size is not known."),
    ],
)
def test_what_cannot_be_exported_is_a_sentence_and_leaves_no_file(
    penstock: Run, keep: Callable[..., None], tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    keep(answered(600), answered(60, prompt_tokens=0))
    done = penstock("records", "export", *options, "--out", str(tmp_path / "trace.jsonl"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert not (tmp_path / "trace.jsonl").exists()


def test_a_file_that_is_there_stays_as_it_was(penstock: Run, keep: Callable[..., None], tmp_path: Path) -> None:
    keep(answered(60))
    file = tmp_path / "trace.jsonl"
    file.write_text("mine")
    done = penstock("records", "export", "--out", str(file))
    assert (done.exit_code, done.stderr) == (1, f"{str(file)!r}: File exists.\n")
    assert file.read_text() == "mine"


def test_a_stack_elsewhere_or_never_started_is_a_sentence(penstock: Run, tmp_path: Path) -> None:
    assert "without PENSTOCK_URL" in penstock("records", "export", PENSTOCK_URL="http://127.0.0.1:9").stderr
    assert "No stack has been started" in penstock("records", "export").stderr
    assert not (tmp_path / "state").exists()


def test_help_says_what_the_file_never_holds() -> None:
    assert "Never the text" in CliRunner().invoke(build(["records"]), ["records", "export", "--help"]).stdout

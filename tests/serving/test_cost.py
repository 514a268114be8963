"""What a request costs in the gateway has not grown since the stored result: calls, allocations and bytes, no times."""

import asyncio
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.cost.measure import SETTLE_S, Pass, measure
from benchmarks.cost.result import COLUMNS, summarise
from benchmarks.gate import Condition, Stored, judge
from benchmarks.origin import REPOSITORY
from serving.cli import build
from serving.commands.bench_cost import open_counted

BASELINE = REPOSITORY / "benchmarks/results/2026-11-25-cost"
FACTORS = {"calls": 1.15, "allocations": 1.15, "allocated_bytes": 1.2, "bytes_": 1.02}
"""Wider than the gate's own: another patch version of Python or of a library may count a little more."""


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of the command itself."""
    out = tmp_path_factory.mktemp("cost") / "result"
    done = CliRunner().invoke(build(["bench"]), ["bench", "cost", "--quick", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((out / "summary.json").read_text())
    return out


def conditions(baseline: Stored) -> list[Condition]:
    """One for every figure that the machine's load does not move."""
    return [
        Condition(f"{name}_{figure}", ">", factor, relative=True)
        for name in COLUMNS
        for figure in baseline.summary[name]
        for beginning, factor in FACTORS.items()
        if figure.startswith(beginning)
    ]


def test_no_request_costs_more_than_in_the_stored_result(counted: Path) -> None:
    run, baseline = Stored.read(counted), Stored.read(BASELINE)
    if run.origin["python"].rsplit(".", 1)[0] != baseline.origin["python"].rsplit(".", 1)[0]:
        pytest.skip("another Python makes other calls: make a result of your own with `penstock bench cost`")
    verdicts = judge(run, baseline, conditions=conditions(baseline))
    assert len(verdicts) == 23
    assert [one.sentence for one in verdicts if one.failed] == []


def test_the_stored_result_was_made_from_committed_files() -> None:
    assert Stored.read(BASELINE).origin["dirty"] is False


def wasteful(app: Any) -> Any:
    """A layer that looks into every message, as a regression would."""

    async def around(scope: Any, receive: Any, send: Any) -> None:
        async def looking(message: Any) -> None:
            json.loads(json.dumps({"length": len(message.get("body", b""))}))
            await send(message)

        await app(scope, receive, looking)

    return around


def lingering(app: Any) -> Any:
    """What a call leaves behind begins just before a block is over, and ends when the next one has begun."""
    tails: set[asyncio.Task[None]] = set()

    async def tail() -> None:
        await asyncio.sleep(0.95 * SETTLE_S)
        await asyncio.to_thread(time.sleep, 0.025)
        json.dumps([str(number) for number in range(5000)])

    async def around(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        tails.add(task := asyncio.create_task(tail()))
        task.add_done_callback(tails.discard)

    return around


def calls_of(name: str, around: Callable[[Any], Any]) -> float:
    passes = (Pass("calls", 1, 1),)
    calls: float = summarise(measure(partial(open_counted, around=around), passes))[name]["calls"]
    return calls


def test_a_layer_too_many_is_seen_in_the_calls_of_a_chunk(counted: Path) -> None:
    before = Stored.read(counted).figures["chunk_calls"]
    assert calls_of("chunk", wasteful) > 1.15 * before


def test_work_that_a_block_leaves_under_way_is_not_counted_in_the_next_one(counted: Path) -> None:
    before = Stored.read(counted).figures["chat_calls"]
    assert calls_of("chat", lingering) < 1.15 * before


def test_a_folder_that_holds_a_result_is_not_written_again(counted: Path) -> None:
    done = CliRunner().invoke(build(["bench"]), ["bench", "cost", "--quick", "--out", str(counted)])
    assert (done.exit_code, "holds a result already" in done.output) == (1, True)

"""Both measures, on a stack whose jobs take their steps by the clock."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.adapters.registry import Registry
from benchmarks.calls import Address
from benchmarks.fine_tuning import beside, served
from benchmarks.fine_tuning.__main__ import app
from benchmarks.fine_tuning.jobs import Event, Jobs
from models.catalog import Catalog
from models.errors import ConfigurationError, InvalidKey, Unavailable
from tests.benchmarks.adapters.fleet_stack import KEY
from tests.benchmarks.fine_tuning.tuning_stack import TuningStack, at

CARD = Catalog.load(None).card("demo-small")


def silent() -> None:
    """Nobody listens."""


def on(stack: TuningStack, work: Callable[[Jobs, Registry], Awaitable[Any]], key: str = KEY) -> Any:
    async def go() -> Any:
        async with at(stack, key) as (jobs, calls):
            return await work(jobs, Registry(calls))

    return asyncio.run(go())


def served_order(stack: TuningStack) -> served.ServedOrder:
    return served.ServedOrder(Address(stack.url, "", KEY), CARD, 2, 3, 1, 7)


def beside_order(stack: TuningStack, key: str = KEY) -> beside.BesideOrder:
    return beside.BesideOrder(Address(stack.url, "demo-small", key), "demo-small", (1, 2), 2, 0.15, 4, 7, {}, 0.0)


def event(at: float, **data: Any) -> Event:
    return Event(at, "", data)


def test_a_jobs_time_behind_its_training_is_split_by_its_events_and_judging_counts_apart(
    tuning_stack: TuningStack,
) -> None:
    heard: list[None] = []
    order = served_order(tuning_stack)
    found = on(
        tuning_stack,
        lambda jobs, registry: served.measure(order, jobs, registry=registry, heard=lambda: heard.append(None)),
    )
    parts = {name: value["median"] for name, value in found["jobs"].items()}
    told = [parts[name] for name in ("handing_s", "publishing_s", "judging_s", "releasing_s")]
    assert told == pytest.approx([0.1, 0.4, 3.0, 0.5], abs=1e-3)
    assert parts["served_s"] == pytest.approx(1.0 + parts["answer_s"], abs=1e-3)
    assert (len(heard), found["by_hand"]["served_s"]["count"], found["jobs"]["served_s"]["count"]) == (6, 3, 2)
    asked = [seen.body["model"] for seen in tuning_stack.engine.seen]
    assert asked == [f"by-hand@{number}" for number in range(1, 5)] + ["ft:ftjob-0", "ft:ftjob-1"]
    assert len(set(tuning_stack.pushed)) == 4  # each has weights of its own
    assert (tuning_stack.wishes, sorted(tuning_stack.deleted)) == (["retire"], ["file-0", "file-1"])
    assert "By a job: met" in served.markdown(found)


def test_a_job_that_fails_ends_the_measure_with_its_reason(tuning_stack: TuningStack) -> None:
    tuning_stack.fails = "The gate is not passed."
    order = served_order(tuning_stack)
    with pytest.raises(Unavailable, match="'failed': The gate is not passed"):
        on(tuning_stack, lambda jobs, registry: served.measure(order, jobs, registry=registry, heard=silent))


def test_a_version_that_is_loaded_and_does_not_answer_or_a_gateway_that_lags_makes_no_figure(
    tuning_stack: TuningStack,
) -> None:
    order = served_order(tuning_stack)
    tuning_stack.silent = {"by-hand@2"}
    with pytest.raises(Unavailable, match="'by-hand@2' is loaded, and does not answer"):
        on(tuning_stack, lambda jobs, registry: served.measure(order, jobs, registry=registry, heard=silent))
    tuning_stack.waiting = ["g2"]
    with pytest.raises(Unavailable, match="g2"):
        on(tuning_stack, lambda jobs, registry: served.measure(order, jobs, registry=registry, heard=silent))
    assert tuning_stack.wishes == ["retire", "retire"]


def test_events_without_phases_or_exact_times_are_an_older_stacks() -> None:
    with pytest.raises(ConfigurationError, match="'publishing' began"):
        served.parts([event(1.0)], answer_s=1.0)
    with pytest.raises(ConfigurationError, match=r"penstock\.at"):
        Event.read({"message": "", "created_at": 1, "data": {}})


def test_a_key_that_is_refused_is_told(tuning_stack: TuningStack) -> None:
    with pytest.raises(InvalidKey, match="no such key"):
        on(tuning_stack, lambda jobs, _: jobs.show("ftjob-0"), key="other")


def test_blocks_with_a_training_stand_between_blocks_without_and_the_job_is_cancelled_at_the_end(
    tuning_stack: TuningStack,
) -> None:
    heard: list[None] = []
    order = beside_order(tuning_stack)
    found = on(tuning_stack, lambda jobs, _: beside.measure(order, jobs, heard=lambda: heard.append(None)))
    arms = [(block["round"], block["arm"], block["clients"]) for block in found["blocks"]]
    without, beside_it, again = beside.ARMS
    first = [(without, 1), (without, 2), (beside_it, 0), (beside_it, 1), (beside_it, 2), (again, 1), (again, 2)]
    assert arms[:7] == [(0, *one) for one in first]
    assert [arm for _, arm, _ in arms[7:]] == [again, again, *[beside_it] * 3, without, without]
    assert (len(heard), order.blocks) == (14, 14)
    assert tuning_stack.wishes == ["pause", "resume", "pause", "resume", "pause", "cancel"]
    assert tuning_stack.deleted == ["file-0"]
    job = tuning_stack.jobs[0]
    quiet = [block for block in found["blocks"] if block["clients"] == 0]
    assert all("ttft_p50_ms" not in block for block in quiet)
    for block in found["blocks"]:  # it took steps in its own blocks and in no others
        took = any(block["began"] < one["penstock"]["at"] < block["ended"] for one in job.events)
        assert took == (block["arm"] == beside_it)


def test_ratios_are_of_a_round_and_the_arm_without_a_training_is_its_own_measure(tuning_stack: TuningStack) -> None:
    order = beside_order(tuning_stack)
    found = on(tuning_stack, lambda jobs, _: beside.measure(order, jobs, heard=silent))
    for point in found["points"]:
        arms = point["arms"]
        assert [arms[arm]["failed"] for arm in beside.ARMS] == [0, 0, 0]
        assert all(arms[arm]["calls"] > 0 for arm in beside.ARMS)
        assert {value["median"] for value in arms[beside.WITHOUT]["of_without"].values()} == {1.0}
        assert arms[beside.AGAIN]["of_without"]["tokens_per_s"]["median"] != 1.0
    assert [one["clients"] for one in found["training"]] == [0, 1, 2]
    assert found["training"][0]["of_alone"]["median"] == 1.0
    assert found["training"][0]["tokens_per_s"]["median"] == pytest.approx(100 / 0.005, rel=0.05)
    assert "| 2 | with a training | " in beside.markdown(found)


def test_a_trainings_speed_counts_the_steps_inside_of_a_block() -> None:
    steps = [event(at, train_loss=1.0, tokens=100.0 * at, step=at) for at in range(10)]
    assert beside.trained_per_s([*steps, event(4.5, step=4)], began=2.5, ended=7.5) == 100.0
    with pytest.raises(Unavailable, match="took 1 steps"):
        beside.trained_per_s(steps, began=2.5, ended=3.5)


def test_a_stack_that_answers_nothing_makes_no_block_and_no_job(tuning_stack: TuningStack) -> None:
    tuning_stack.silent = {"demo-small"}
    order = beside_order(tuning_stack)
    with pytest.raises(Unavailable, match="status 503"):
        on(tuning_stack, lambda jobs, _: beside.measure(order, jobs, heard=silent))
    assert tuning_stack.jobs == []


def test_a_job_that_ends_in_the_middle_ends_the_measure(tuning_stack: TuningStack) -> None:
    order = beside_order(tuning_stack)
    tuning_stack.fails = "Out of memory."
    with pytest.raises(Unavailable, match="Out of memory"):
        on(tuning_stack, lambda jobs, _: beside.measure(order, jobs, heard=silent))
    assert tuning_stack.wishes == ["cancel"]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def options(stack: TuningStack, out: Path) -> tuple[object, ...]:
    return ("--target", f"{stack.url}/v1", "--out", out, "--key", KEY, "--state-dir", out.parent)


def test_the_program_leaves_its_table_its_figures_and_its_origin(tuning_stack: TuningStack, tmp_path: Path) -> None:
    out = tmp_path / "result"
    more = ("--base", "demo-small", "--jobs", 2, "--repetitions", 2, "--rank", 1)
    done = run("served", *options(tuning_stack, out), *more, "--json")
    assert done.exit_code == 0, done.output
    summary, origin = (json.loads((out / f"{name}.json").read_text()) for name in ("summary", "origin"))
    assert json.loads(done.stdout) == summary
    assert origin["counts"] == {"jobs": 2, "repetitions": 2}
    assert f"Commit {origin['commit'][:12]}" in (out / "table.md").read_text()
    assert KEY not in "".join(path.read_text() for path in out.iterdir())
    assert "holds a result already" in run("served", *options(tuning_stack, out), *more).stderr


def test_the_program_asks_one_card_beside_the_training_of_another(tuning_stack: TuningStack, tmp_path: Path) -> None:
    began = time.time()
    more = ("--rounds", 2, "--block-s", 0.2, "--clients", "1,3", "--base", "demo-small")
    done = run("beside", *options(tuning_stack, tmp_path / "result"), *more)
    assert done.exit_code == 0, done.output
    assert "Calls of 'demo-large' beside a training of 'demo-small', 2 blocks of 0.2 s each" in done.stdout
    assert tuning_stack.jobs[0].asked["model"] == "demo-small"
    assert {(seen.body["model"], seen.body["max_tokens"]) for seen in tuning_stack.engine.seen} == {("demo-large", 32)}
    summary = json.loads((tmp_path / "result" / "summary.json").read_text())
    assert all(began < block["began"] < block["ended"] for block in summary["blocks"])

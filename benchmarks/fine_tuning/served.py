"""From a checkpoint to a served adapter: what a job does behind its training, and the same by hand.

A job's events tell when each of its phases began. Judging hangs on the number of questions and is told apart; a job
loads its version at the beginning of it, so the load that was measured by hand is added. By hand, an adapter of random
weights is pushed, loaded on every replica and asked by its immutable name. Owns the measure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.adapters.registry import Registry
from benchmarks.adapters.weights import adapter_zip
from benchmarks.calls import Address
from benchmarks.estimates import estimate
from benchmarks.fine_tuning.jobs import Event, Jobs
from benchmarks.fine_tuning.lines import lines
from benchmarks.quality.answers import Asker, NoAnswer, asking
from benchmarks.result import markdown_table
from models.catalog.schema import ModelCard
from models.errors import ConfigurationError, Unavailable

GOAL_S = 2.0
JOBS_ADAPTER, BY_HAND = "served-bench-{}", "served-by-hand-{}"
"""Of a base each: an adapter stands on one."""
WARM_S = 30.0
PHASES = ("publishing", "judging", "releasing", "done")
JOB_ROWS = {
    "handing_s": "handing over: from the last checkpoint to the adapter in the store",
    "publishing_s": "publishing: until it is a version of its name",
    "releasing_s": "releasing: until `fine_tuned_model` is set",
    "answer_s": "the first answer under that name",
    "served_s": "together",
    "judging_s": "judging, not counted",
}
HAND_ROWS = {
    "push_s": "push: checked, and in the store",
    "load_s": "load, on every replica",
    "answer_s": "the first answer under its own name",
    "served_s": "together",
}
HYPERPARAMETERS: Mapping[str, Any] = {"n_epochs": 6, "batch_size": 16}
"""Enough for the smaller tier to pass the gate with room to spare; half of it is not always enough for the larger."""


@dataclass(frozen=True, slots=True)
class ServedOrder:
    """What was asked for. `repetitions`: by hand."""

    address: Address
    card: ModelCard
    jobs: int
    repetitions: int
    rank: int
    seed: int


async def measure(order: ServedOrder, jobs: Jobs, *, registry: Registry, heard: Callable[[], None]) -> dict[str, Any]:
    """By hand first, then the jobs, one after another. The first of what is done by hand counts in nothing."""
    async with asking(order.address, max_tokens=1) as asker:
        by_hand = await _by_hand(order, registry, asker=asker, heard=heard)
        by_job = await _by_jobs(order, jobs, asker=asker, heard=heard)
    return {
        "goal_s": GOAL_S,
        "base": order.card.id,
        "rank": order.rank,
        "jobs": _figures(by_job, JOB_ROWS, seed=order.seed),
        "by_hand": _figures(by_hand[1:], HAND_ROWS, seed=order.seed),
        "each": {"jobs": by_job, "by_hand": by_hand},
    }


async def _by_hand(
    order: ServedOrder, registry: Registry, *, asker: Asker, heard: Callable[[], None]
) -> list[dict[str, float]]:
    rows, name = [], BY_HAND.format(order.card.id)
    try:
        for at in range(order.repetitions + 1):
            content = adapter_zip(order.card, rank=order.rank, seed=order.seed + at)
            began = time.perf_counter()
            version = await registry.push(name, content, base=order.card.id)
            pushed = time.perf_counter()
            loaded = await registry.load(name, version, warm_s=WARM_S)
            if loaded["waiting"]:
                raise Unavailable(f"Gateway {loaded['waiting'][0]} did not confirm a load. Measure again.")
            ready = time.perf_counter()
            await _answered(asker, loaded["model"])
            ended = time.perf_counter()
            marks = (pushed - began, ready - pushed, ended - ready, ended - began)
            rows.append(dict(zip(HAND_ROWS, marks, strict=True)))
            heard()
    finally:
        await registry.retire(name)
    return rows


async def _by_jobs(
    order: ServedOrder, jobs: Jobs, *, asker: Asker, heard: Callable[[], None]
) -> list[dict[str, float]]:
    """Each trains the same lessons from another seed."""
    lessons, questions = await asyncio.to_thread(lines, order.seed)
    training = await jobs.upload("lessons.jsonl", lessons, purpose="fine-tune")
    golden = await jobs.upload("questions.jsonl", questions, purpose="evals")
    rows = []
    for at in range(order.jobs):
        job = await jobs.create(
            {
                "model": order.card.id,
                "training_file": training,
                "method": {"type": "supervised", "supervised": {"hyperparameters": dict(HYPERPARAMETERS)}},
                "suffix": JOBS_ADAPTER.format(order.card.id),
                "seed": (order.seed + at) % 2**31,
                "penstock": {"golden_file": golden},
            }
        )
        name = (await jobs.ended(job))["fine_tuned_model"]
        began = time.perf_counter()
        await _answered(asker, name)
        rows.append(parts(await jobs.events(job), answer_s=time.perf_counter() - began))
        heard()
    await jobs.forget(training, golden)
    return rows


async def _answered(asker: Asker, model: str) -> None:
    try:
        await asker.ask(model, "Which desk?")
    except NoAnswer as error:
        raise Unavailable(f"{model[:64]!r} is loaded, and does not answer: {error}.") from error


def parts(events: Sequence[Event], *, answer_s: float) -> dict[str, float]:
    """Of one job, in seconds. It has handed over what its last event before `publishing` says is kept."""
    begins = {event.phase: at for at, event in enumerate(events) if event.phase in PHASES}
    if missing := [phase for phase in PHASES if phase not in begins]:
        raise ConfigurationError(f"The job's events do not tell when {missing[0]!r} began. The stack is an older one.")
    published, judged, released, done = (events[begins[phase]].at for phase in PHASES)
    before = events[: begins["publishing"]]
    handing = published - before[-1].at if before else 0.0
    publishing, releasing = judged - published, done - released
    return {
        "handing_s": handing,
        "publishing_s": publishing,
        "releasing_s": releasing,
        "answer_s": answer_s,
        "served_s": handing + publishing + releasing + answer_s,
        "judging_s": released - judged,
    }


def _figures(rows: Sequence[Mapping[str, float]], names: Mapping[str, str], *, seed: int) -> dict[str, Any]:
    """Part → its median with an interval, and its p95."""
    values = {name: [row[name] for row in rows] for name in names}
    return {
        name: {**asdict(estimate(each, seed=seed)), "p95": float(np.percentile(each, 95))}
        for name, each in values.items()
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Both tables, and whether the goal is met."""
    tables = []
    for key, names, what in (("jobs", JOB_ROWS, "jobs"), ("by_hand", HAND_ROWS, "adapters by hand")):
        count = found[key]["served_s"]["count"]
        tables.append(f"{count} {what} of {found['base']!r}, rank {found['rank']}, seconds:")
        cells = [[said, _cell(found[key][name]), f"{found[key][name]['p95']:.2f}"] for name, said in names.items()]
        tables.append(markdown_table(("part", "median (95 % interval)", "p95"), cells))
    by_job, by_hand = total_s(found), found["by_hand"]["served_s"]["median"]
    said = (
        f"A job loads its version while it is judged; with the load as by hand it comes to {by_job:.2f} s. Goal:"
        f" ≤ {GOAL_S:g} s at the median from checkpoint to served adapter. By a job: {_verdict(by_job)}; by hand:"
        f" {_verdict(by_hand)}."
    )
    return "\n\n".join([*tables, said]) + "\n"


def total_s(found: Mapping[str, Any]) -> float:
    """What a job takes without its judging, and with the load that it does there, in seconds."""
    return float(found["jobs"]["served_s"]["median"] + found["by_hand"]["load_s"]["median"])


def _verdict(seconds: float) -> str:
    return f"{'met' if seconds <= GOAL_S else 'missed'}, {seconds:.2f} s"


def _cell(value: Mapping[str, Any]) -> str:
    return f"{value['median']:.2f} ({value['low']:.2f} … {value['high']:.2f})"

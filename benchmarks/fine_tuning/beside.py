"""What a training costs the calls that are served on the same machine, and what they cost it.

One long job is resumed and paused between blocks of calls. In rounds, in turn from one end and the other: without it,
with it, and without it again, which shows what the machine alone moves. With it one block more, without calls, tells
how fast it trains undisturbed. Owns the measure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.calls import Address
from benchmarks.estimates import estimate, ratios
from benchmarks.fine_tuning.jobs import Event, Jobs
from benchmarks.fine_tuning.lines import lines
from benchmarks.metrics import measure as counted
from benchmarks.result import markdown_table
from benchmarks.runner import Runner
from benchmarks.suite import Load
from models.errors import Unavailable

WITHOUT, WITH, AGAIN = "without", "with a training", "without, again"
ARMS = (WITHOUT, WITH, AGAIN)
FIGURES = {"ttft_p50_ms": ".1f", "ttft_p99_ms": ".0f", "tokens_per_s": ".0f"}
SETTLE_S = 2.0
NAME = "beside-bench"
HYPERPARAMETERS: Mapping[str, Any] = {"n_epochs": 100, "batch_size": 8, "checkpoint_every": 100_000}
"""Longer than any measure: it is cancelled at the end."""


@dataclass(frozen=True, slots=True)
class BesideOrder:
    """What was asked for. `address.model`: the card that is asked; `base`: the one that is trained; `block_s`: of every
    block; `body`: fields of every request, which keep answers at their length.
    """

    address: Address
    base: str
    clients: tuple[int, ...]
    rounds: int
    block_s: float
    answer_tokens: int
    seed: int
    body: Mapping[str, Any]
    settle_s: float = SETTLE_S

    @property
    def blocks(self) -> int:
        """How many there are, those without calls included."""
        return self.rounds * (len(ARMS) * len(self.clients) + 1)

    def load(self, clients: int) -> Load:
        """One block's."""
        return Load.model_validate(
            {
                "prompts": {"kind": "words", "words": [10, 30]},
                "workload": {"kind": "closed", "clients": clients},
                "answer_tokens": self.answer_tokens,
                "duration_s": self.block_s,
                "body": dict(self.body),
            }
        )


async def measure(order: BesideOrder, jobs: Jobs, *, heard: Callable[[], None]) -> dict[str, Any]:
    """All rounds. A warm-up without a training counts nowhere."""
    for clients in order.clients:
        await _calls(order, clients, seed=order.seed - 1)
    training, _ = await asyncio.to_thread(lines, order.seed)
    file = await jobs.upload("lessons.jsonl", training, purpose="fine-tune")
    job = await jobs.create(_asked(order, file))
    blocks: list[dict[str, Any]] = []
    try:
        await jobs.stepped(job)
        await jobs.paused(job)
        for number in range(order.rounds):
            for arm in ARMS if number % 2 == 0 else reversed(ARMS):
                found = await _arm(order, arm, jobs=jobs, job=job, seed=order.seed + 1 + len(blocks), heard=heard)
                blocks += [{"round": number, "arm": arm, **one} for one in found]
    finally:
        await jobs.cancelled(job)
        await jobs.forget(file)
    return {
        "model": order.address.model,
        "base": order.base,
        "block_s": order.block_s,
        "points": [_point(blocks, clients, seed=order.seed) for clients in order.clients],
        "training": _training(blocks, (0, *order.clients), seed=order.seed),
        "blocks": blocks,
    }


def _asked(order: BesideOrder, file: str) -> dict[str, Any]:
    return {
        "model": order.base,
        "training_file": file,
        "method": {"type": "supervised", "supervised": {"hyperparameters": dict(HYPERPARAMETERS)}},
        "suffix": NAME,
        "seed": order.seed % 2**31,
    }


async def _arm(
    order: BesideOrder, arm: str, *, jobs: Jobs, job: str, seed: int, heard: Callable[[], None]
) -> list[dict[str, Any]]:
    """One block for each number of clients, in one state of the job."""
    if arm == WITH:
        await jobs.resumed(job)
    else:
        await asyncio.sleep(order.settle_s)
    blocks = []
    for at, clients in enumerate((0, *order.clients) if arm == WITH else order.clients):
        blocks.append(await _block(order, clients, seed=seed + at))
        heard()
    if arm == WITH:
        events = await jobs.events(job)
        await jobs.paused(job)
        for block in blocks:
            block["training_tokens_per_s"] = trained_per_s(events, began=block["began"], ended=block["ended"])
    return blocks


async def _block(order: BesideOrder, clients: int, *, seed: int) -> dict[str, Any]:
    began = time.time()
    if clients:
        found = await _calls(order, clients, seed=seed)
    else:
        await asyncio.sleep(order.block_s)
        found = {}
    return {"clients": clients, "began": began, "ended": time.time(), **found}


async def _calls(order: BesideOrder, clients: int, *, seed: int) -> dict[str, Any]:
    load = order.load(clients)
    runner = Runner(order.address, load, seed=seed, heard=lambda _: None)
    found = counted(await runner.go(), load, slos=())
    if runner.run.stopped is not None or found.ttft_ms is None:
        raise Unavailable(f"A block was not answered: {runner.run.stopped or dict(found.errors) or 'no content'}.")
    return {
        "ttft_p50_ms": found.ttft_ms.p50,
        "ttft_p99_ms": found.ttft_ms.p99,
        "tokens_per_s": found.tokens_per_s,
        "calls": found.sent,
        "failed": sum(found.errors.values()) + found.unfinished,
        "client_cpu_share": found.client_cpu_share,
    }


def trained_per_s(events: Sequence[Event], *, began: float, ended: float) -> float:
    """Trained tokens a second between the first and the last step inside of a block, by the training's own figures.

    The stack's clock and this one have to agree, as they do on one machine. Raises `Unavailable` with under two steps.
    """
    steps = [event for event in events if began <= event.at <= ended and "train_loss" in event.data]
    if len(steps) < 2 or steps[-1].at <= steps[0].at:
        raise Unavailable(f"The training took {len(steps)} steps in a block of {ended - began:.0f} s: use longer ones.")
    return float((steps[-1].data["tokens"] - steps[0].data["tokens"]) / (steps[-1].at - steps[0].at))


def _point(blocks: Sequence[Mapping[str, Any]], clients: int, *, seed: int) -> dict[str, Any]:
    """One number of clients: each arm's figures, and their ratio to those without a training, round by round."""
    kept = {arm: [one for one in blocks if one["clients"] == clients and one["arm"] == arm] for arm in ARMS}
    rows = {
        arm: sorted(found, key=lambda one: one["round"])  # rounds go both ways, their pairs do not
        for arm, found in kept.items()
    }
    values = {arm: {name: [one[name] for one in found] for name in FIGURES} for arm, found in rows.items()}
    arms = {
        arm: {
            "calls": sum(one["calls"] for one in rows[arm]),
            "failed": sum(one["failed"] for one in rows[arm]),
            **{name: asdict(estimate(values[arm][name], seed=seed)) for name in FIGURES},
            "of_without": {
                name: asdict(estimate(ratios(values[arm][name], values[WITHOUT][name]), seed=seed)) for name in FIGURES
            },
        }
        for arm in ARMS
    }
    return {"clients": clients, "arms": arms}


def _training(blocks: Sequence[Mapping[str, Any]], clients: Sequence[int], *, seed: int) -> list[dict[str, Any]]:
    """Its own speed beside so many clients, and the ratio to its speed beside none."""
    rates = {
        count: [one["training_tokens_per_s"] for one in blocks if one["arm"] == WITH and one["clients"] == count]
        for count in clients
    }
    return [
        {
            "clients": count,
            "tokens_per_s": asdict(estimate(rates[count], seed=seed)),
            "of_alone": asdict(estimate(ratios(rates[count], rates[0]), seed=seed)),
        }
        for count in clients
    ]


def markdown(found: Mapping[str, Any]) -> str:
    """What calls lose, then what the training loses."""
    head = ("clients", "arm", "TTFT p50 ms", "TTFT p99 ms", "tokens/s", "p50 ×", "p99 ×", "tokens/s ×", "failed")
    rows = [
        [
            str(point["clients"]),
            arm,
            *(f"{one[name]['median']:{form}}" for name, form in FIGURES.items()),
            *(_cell(one["of_without"][name], ".2f") for name in FIGURES),
            f"{one['failed']} of {one['calls']:,}",
        ]
        for point in found["points"]
        for arm, one in point["arms"].items()
    ]
    trained = [
        [str(one["clients"]), _cell(one["tokens_per_s"], ".0f"), _cell(one["of_alone"], ".2f")]
        for one in found["training"]
    ]
    rounds = found["training"][0]["tokens_per_s"]["count"]
    said = (
        f"Calls of {found['model']!r} beside a training of {found['base']!r}, {rounds} blocks of"
        f" {found['block_s']:g} s each; medians over blocks, ratios to the blocks without a training, round by round"
        " (95 % interval):"
    )
    about = "The training's own tokens a second beside those calls:"
    table = markdown_table(("clients", "tokens/s", "of its speed without calls"), trained)
    return "\n\n".join([said, markdown_table(head, rows), about, table]) + "\n"


def _cell(value: Mapping[str, Any], form: str) -> str:
    return f"{value['median']:{form}} ({value['low']:{form}} … {value['high']:{form}})"

"""Many adapters, few of them popular: how often a call finds its adapter in a slot, with affinity and without.

In rounds, affinity on and off in alternating order. A round fills the slots with calls that count nowhere, then counts
by the engines' own counters. Owns the measure; switching is `affinity.py`'s.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.adapters.popular import hit_rate
from benchmarks.adapters.registry import Registry, served
from benchmarks.calls import Address, Call
from benchmarks.estimates import estimate, ratios
from benchmarks.result import markdown_table
from benchmarks.runner import Runner
from benchmarks.suite import Load
from models.errors import Unavailable

GOAL = 2.0
ON, OFF = "own replica", "any replica"
WATCHED = 10
"""Of the most popular adapters it is read on which replicas their calls were."""
FAR = (2, 4, 8)
"""Replicas for which it is told what choosing can reach."""

Switch = Callable[[bool], Awaitable[None]]
"""Makes a stack send an adapter's calls to its own replica (True) or to any (False) from now on."""


@dataclass(frozen=True, slots=True)
class ZipfOrder:
    """What was asked for. `address.models`: the live adapters, the most popular one first."""

    address: Address
    rounds: int
    requests: int
    warm_up: int
    clients: int
    answer_tokens: int
    zipf: float
    seed: int
    body: Mapping[str, Any]

    def load(self, requests: int) -> Load:
        """So many requests of it."""
        return Load.model_validate(
            {
                "models": {"like": self.address.model, "zipf": self.zipf},
                "prompts": {"kind": "words", "words": [20, 60]},
                "workload": {"kind": "closed", "clients": self.clients},
                "answer_tokens": self.answer_tokens,
                "requests": requests,
                "body": dict(self.body),
            }
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """One arm in one round. Times in ms; `gathered`: the part 0…1 of the watched adapters' calls that came to the
    replica which had most of them.
    """

    arm: str
    round: int
    hit_rate: float
    requests: int
    activations: int
    disk_loads: int
    gathered: float
    failed: int
    ttft_p50_ms: float
    ttft_p99_ms: float
    slowest_p99_ms: float


async def measure(
    order: ZipfOrder, registry: Registry, *, switch: Switch, heard: Callable[[Call], None]
) -> dict[str, Any]:
    """All rounds; the stack stays with affinity on."""
    turns = []
    for number, arm in turns_of(order.rounds):
        await switch(arm == ON)
        turns.append(await _turn(order, registry, place=(number, arm), heard=heard))
    if turns[-1].arm != ON:
        await switch(True)
    totals = await registry.totals(order.address.models[0])
    weights = [rank**-order.zipf for rank in range(1, len(order.address.models) + 1)]
    return {
        "goal": GOAL,
        "names": len(order.address.models),
        "replicas": totals.replicas,
        "slots": totals.slots,
        "arms": {arm: _summary([turn for turn in turns if turn.arm == arm], order.seed) for arm in (ON, OFF)},
        "ratio": asdict(estimate(_ratios(turns), seed=order.seed)),
        "reach": [_reach(weights, replicas, slots=totals.slots, seed=order.seed) for replicas in FAR],
        "turns": [asdict(turn) for turn in turns],
    }


def turns_of(rounds: int) -> Iterator[tuple[int, str]]:
    """Round and arm in the order of their time: on off, off on, on off; so the stack is switched once a round."""
    for number in range(rounds):
        yield from ((number, arm) for arm in ((ON, OFF) if number % 2 == 0 else (OFF, ON)))


async def _turn(order: ZipfOrder, registry: Registry, *, place: tuple[int, str], heard: Callable[[Call], None]) -> Turn:
    number, arm = place
    seed = order.seed + 1_000 * (2 * number + (arm == OFF))  # other texts, or the prefix caches would answer
    await _sent(order, order.warm_up, seed=seed + 1, heard=heard)
    watched = order.address.models[:WATCHED]
    before, there = await registry.totals(watched[0]), await _served(registry, watched)
    calls = await _sent(order, order.requests, seed=seed, heard=heard)
    counted = (await registry.totals(watched[0])).since(before)
    gathered = gathering(there, await _served(registry, watched))
    good = [call for call in calls if call.error is None and call.chunks_s]
    if not good:
        raise Unavailable(f"No call was answered: {calls[0].error} {calls[0].detail or ''}".strip())
    first = [1000 * (call.chunks_s[0] - call.sent_s) for call in good]
    p50, p99 = np.percentile(first, [50, 99])
    return Turn(
        arm,
        number,
        counted.hit_rate,
        counted.requests,
        counted.activations,
        counted.disk_loads,
        gathered,
        len(calls) - len(good),
        float(p50),
        float(p99),
        slowest_p99(good),
    )


async def _sent(order: ZipfOrder, requests: int, *, seed: int, heard: Callable[[Call], None]) -> list[Call]:
    runner = Runner(order.address, order.load(requests), seed=seed, heard=heard)
    run = await runner.go()
    if run.stopped is not None:
        raise Unavailable(f"The round ended early: {run.stopped}.")
    return run.calls


async def _served(registry: Registry, names: Sequence[str]) -> list[dict[str, int]]:
    return [served(told) for told in await asyncio.gather(*(registry.replicas(name) for name in names))]


def gathering(before: Sequence[Mapping[str, int]], after: Sequence[Mapping[str, int]]) -> float:
    """The part of the watched calls that came to the replica which had most of its adapter's: 1 with one home each."""
    grown = [
        [count - then.get(replica, 0) for replica, count in now.items()]
        for then, now in zip(before, after, strict=True)
    ]
    whole = sum(map(sum, grown))
    return sum(max(each, default=0) for each in grown) / whole if whole else 0.0


def slowest_p99(calls: Sequence[Call]) -> float:
    """The p99 of the time to the first token, ms, of the adapter where it is longest: of a seldom one its longest."""
    by_name: dict[str | None, list[float]] = defaultdict(list)
    for call in calls:
        by_name[call.asked_model].append(1000 * (call.chunks_s[0] - call.sent_s))
    return max(float(np.percentile(values, 99)) for values in by_name.values())


def _ratios(turns: Sequence[Turn]) -> list[float]:
    """Hit rate with affinity over that without, round by round."""
    by_arm = {
        arm: [turn.hit_rate for turn in sorted(turns, key=lambda one: one.round) if turn.arm == arm]
        for arm in (ON, OFF)
    }
    if not all(by_arm[OFF]):
        raise Unavailable("Without affinity no call found its adapter in a slot. Send more requests.")
    return ratios(by_arm[ON], by_arm[OFF])


def _summary(turns: Sequence[Turn], seed: int) -> dict[str, Any]:
    names = ("hit_rate", "gathered", "ttft_p50_ms", "ttft_p99_ms", "slowest_p99_ms")
    figures = {name: asdict(estimate([getattr(turn, name) for turn in turns], seed=seed)) for name in names}
    counts = ("requests", "activations", "disk_loads", "failed")
    return {**figures, **{name: sum(getattr(turn, name) for turn in turns) for name in counts}}


def _reach(weights: Sequence[float], replicas: int, *, slots: int, seed: int) -> dict[str, Any]:
    own, spread = (hit_rate(weights, replicas=replicas, slots=slots, own=own, seed=seed) for own in (True, False))
    return {"replicas": replicas, "own": own, "any": spread, "ratio": own / spread}


def markdown(found: Mapping[str, Any]) -> str:
    """The tables, and whether the goal is met."""
    head = (
        "calls go to",
        "slot hits",
        "to one replica",
        "disk reads",
        "failed",
        "TTFT p50",
        "TTFT p99",
        "slowest's p99",
    )
    cells = [_cells(arm, found["arms"][arm]) for arm in (ON, OFF)]
    ratio, reach = found["ratio"], found["reach"]
    met = "Met" if ratio["median"] >= GOAL else "Missed"
    said = (
        f"{found['names']:,} adapters, {found['replicas']} replicas with {found['slots']} slots each; times in ms,"
        f" medians over rounds (95 % interval). “To one replica”: of the {WATCHED} most popular adapters' calls the"
        " part that one replica had. “Slowest's p99”: of the adapter that waited longest for its first token."
    )
    goal = (
        f"Goal: ≥ {GOAL:g} × the hits of any replica. {met}: {ratio['median']:.2f} ×"
        f" ({ratio['low']:.2f} … {ratio['high']:.2f})."
    )
    limits = (
        "What choosing replicas can reach with these names, in caches of as many slots without a second call at a time:"
    )
    rows = [[str(one["replicas"]), f"{one['any']:.1%}", f"{one['own']:.1%}", f"{one['ratio']:.2f} ×"] for one in reach]
    bounds = markdown_table(("replicas", "any", "own", "own over any"), rows)
    return "\n\n".join([said, markdown_table(head, cells), goal, limits, bounds]) + "\n"


def _cells(arm: str, one: Mapping[str, Any]) -> list[str]:
    times = (one[name] for name in ("ttft_p50_ms", "ttft_p99_ms", "slowest_p99_ms"))
    return [
        arm,
        f"{one['hit_rate']['median']:.1%} ({one['hit_rate']['low']:.1%} … {one['hit_rate']['high']:.1%})",
        f"{one['gathered']['median']:.0%}",
        f"{one['disk_loads']:,}",
        f"{one['failed']} of {one['requests'] + one['failed']:,}",
        *(f"{value['median']:.0f} ({value['low']:.0f} … {value['high']:.0f})" for value in times),
    ]

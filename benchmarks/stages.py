"""Where the time goes that a gateway adds: the stages of its own records, held against what its clients saw.

The stages come from the stack's records, the sum they are held against from the clients of both servers: two sources
that know nothing of each other. What no record can hold, the way to the gateway's first line and back, is measured
beside them: a request without an engine, through the stack and straight.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import httpx2

from benchmarks.arms import Target

PROBES = 200
STEPS = ("key", "parse", "route")


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the added time to the first token, in milliseconds; the median over the calls."""

    stage: str
    ms: float
    what: str


@dataclass(frozen=True, slots=True)
class Stages:
    """All parts. `closes_within`: how far their sum is from what the clients saw, as a share of it."""

    load: str
    calls: int
    rows: tuple[Stage, ...]
    sum_ms: float
    through_minus_direct_ms: float
    closes_within: float


def stages(
    records: Sequence[Mapping[str, Any]], *, load: str, through_ms: float, direct_ms: float, edge_ms: float
) -> Stages | None:
    """The budget of calls with these records; None without any.

    `through_ms`, `direct_ms`: the clients' median time to the first token. `edge_ms`: from `edge_of`.
    """
    taken = [one for one in records if one["stream"] and one["ttft_ms"] and "first_token" in one["stages_ms"]]
    if not taken:
        return None
    own = {step: median(one["stages_ms"].get(step, 0.0) for one in taken) for step in STEPS}
    engine = median(one["stages_ms"]["first_token"] for one in taken)
    pick = median(one["stages_ms"]["engine_start"] - one["stages_ms"]["first_token"] for one in taken)
    rest = median(one["ttft_ms"] - one["stages_ms"]["engine_start"] - _before(one) for one in taken)
    rows = (
        Stage("edge", edge_ms, "HAProxy and the replica's server, there and back"),
        Stage("key", own["key"], "who calls"),
        Stage("parse", own["parse"], "the body read and checked"),
        Stage("route", own["route"], "the plan of attempts"),
        Stage("pick", pick, "the replica chosen"),
        Stage("connect", engine - direct_ms, "the gateway as the engine's client: beyond the engine's own time"),
        Stage("deliver", rest, "between the steps, and the first piece written"),
    )
    total, added = float(sum(row.ms for row in rows)), through_ms - direct_ms
    return Stages(load, len(taken), rows, total, added, abs(total - added) / abs(added) if added else 0.0)


def within(records: Iterable[Mapping[str, Any]], spans: Sequence[tuple[float, float]]) -> list[Mapping[str, Any]]:
    """The records of calls that began in one of these spans (seconds since the epoch)."""
    return [one for one in records if any(begin <= one["started_at"] <= end for begin, end in spans)]


def edge_of(through: Target, direct: Target) -> float:
    """Milliseconds that a request without an engine takes longer through the stack than straight; medians, in turn."""
    with httpx2.Client() as client:
        there, straight = (_asker(client, target) for target in (through, direct))
        pairs = [(there(), straight()) for _ in range(PROBES)]
    return median(pair[0] for pair in pairs) - median(pair[1] for pair in pairs)


def _before(record: Mapping[str, Any]) -> float:
    return float(sum(record["stages_ms"].get(step, 0.0) for step in STEPS))


def _asker(client: httpx2.Client, target: Target) -> Callable[[], float]:
    headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}

    def ask() -> float:
        began = time.perf_counter()
        client.get(f"{target.url}/v1/models", headers=headers).raise_for_status()
        return 1000 * (time.perf_counter() - began)

    return ask

"""Where the time goes that a gateway adds: the stages of its own records, held against what its clients saw.

Two sources: the stack's records (when a request reached its first line, how long each step took) and the client's calls
(when it was sent, when the first piece of content was there). One client at a time: then the n-th record of a block is
its n-th call, and nothing waits for anything else. Both clocks are this machine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

STEPS = ("key", "parse", "classify", "route")


@dataclass(frozen=True, slots=True)
class Seen:
    """One call of the client: when it was sent and when its first content was there, in seconds since the epoch."""

    sent: float
    first: float


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
    pairs: Sequence[tuple[Seen, Mapping[str, Any]]], *, load: str, through_ms: float, direct_ms: float
) -> Stages | None:
    """The budget of calls and their records; None without any.

    `through_ms`, `direct_ms`: the median time to the first token as the clients of both servers saw it.
    """
    taken = [(seen, one) for seen, one in pairs if one["ttft_ms"] and "first_token" in one["stages_ms"]]
    if not taken:
        return None
    steps = {step: median(one["stages_ms"].get(step, 0.0) for _, one in taken) for step in STEPS}
    engine = median(one["stages_ms"]["first_token"] for _, one in taken)
    pick = median(one["stages_ms"]["engine_start"] - one["stages_ms"]["first_token"] for _, one in taken)
    rest = median(one["ttft_ms"] - one["stages_ms"]["engine_start"] - _before(one) for _, one in taken)
    rows = (
        Stage(
            "in", median(1e3 * (one["started_at"] - seen.sent) for seen, one in taken), "HAProxy, the replica's server"
        ),
        Stage("key", steps["key"], "who calls"),
        Stage("parse", steps["parse"], "the body read and checked"),
        *([Stage("classify", steps["classify"], "the prompt read for `auto`")] if steps["classify"] else []),
        Stage("route", steps["route"], "the plan of attempts"),
        Stage("pick", pick, "the replica chosen"),
        Stage("engine", engine - direct_ms, "as the gateway sees it, less all that a direct client sees"),
        Stage("deliver", rest, "between the steps, up to the first piece"),
        Stage("out", median(_out_ms(seen, one) for seen, one in taken), "from there to the client"),
    )
    total, added = float(sum(row.ms for row in rows)), through_ms - direct_ms
    return Stages(load, len(taken), rows, total, added, abs(total - added) / abs(added) if added else 0.0)


def paired(
    records: Sequence[Mapping[str, Any]], calls: Iterable[Seen], *, spans: Sequence[tuple[float, float]]
) -> Iterator[tuple[Seen, Mapping[str, Any]]]:
    """Each call with its record, block by block (`spans`); a block in which their numbers differ is left out."""
    every = sorted(calls, key=lambda seen: seen.sent)
    for begin, end in spans:
        sent = [seen for seen in every if begin <= seen.sent <= end]
        found = sorted((one for one in records if begin <= one["started_at"] <= end), key=lambda one: one["started_at"])
        if len(sent) == len(found):
            yield from zip(sent, found, strict=True)


def _before(record: Mapping[str, Any]) -> float:
    return float(sum(record["stages_ms"].get(step, 0.0) for step in STEPS))


def _out_ms(seen: Seen, record: Mapping[str, Any]) -> float:
    return float(1e3 * (seen.first - record["started_at"]) - record["ttft_ms"])

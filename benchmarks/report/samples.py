"""What charts need of many calls: latencies and arrivals as flat arrays, failures by kind, the time line. Pure."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.calls import Call

CDF_POINTS = 201
TAIL = (0.99, 0.995, 0.999)

Floats = NDArray[np.float64]


def _doubles() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Samples:
    """The latencies of answered calls, in milliseconds, and what failed: kind → count, and the first detail of each."""

    ttft_ms: array[float] = field(default_factory=_doubles)
    itl_ms: array[float] = field(default_factory=_doubles)
    errors: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)

    def add(self, call: Call, *, due: bool = False) -> None:
        """Take a call in; `due`: its first token counts from when the request was due."""
        if call.error is not None:
            self.errors[call.error] += 1
            if call.detail:
                self.details.setdefault(call.error, call.detail)
        elif call.ended_s and call.chunks_s:
            begin = call.due_s if due and call.due_s is not None else call.sent_s
            self.ttft_ms.append(1000 * (call.chunks_s[0] - begin))
            stamps = call.chunks_s
            self.itl_ms.extend(1000 * (stamps[at] - stamps[at - 1]) for at in range(1, len(stamps)))


@dataclass(slots=True)
class Traffic:
    """When requests were sent, ended and failed, and when pieces arrived: seconds since the run's start."""

    sent_s: array[float] = field(default_factory=_doubles)
    ended_s: array[float] = field(default_factory=_doubles)
    failed_s: array[float] = field(default_factory=_doubles)
    pieces_s: array[float] = field(default_factory=_doubles)

    def add(self, call: Call) -> None:
        """Take a call in; one that was never sent is none."""
        if not call.sent_s and not call.ended_s:
            return
        self.sent_s.append(call.sent_s)
        self.pieces_s.extend(call.chunks_s)
        if call.ended_s:
            self.ended_s.append(call.ended_s)
            if call.error is not None:
                self.failed_s.append(call.ended_s)

    @property
    def last_s(self) -> float:
        """The last that was seen."""
        return max((max(stamps) for stamps in (self.sent_s, self.ended_s, self.pieces_s) if stamps), default=0.0)


@dataclass(frozen=True, slots=True)
class TimeLine:
    """A run in equal parts: `edges_s` has one value more than the others. `in_flight` is the mean of its part."""

    edges_s: Floats
    in_flight: Floats
    pieces_per_s: Floats
    failed: Floats


def cdf(values: Iterable[float]) -> tuple[Floats, Floats]:
    """Values and the share that is at most so large, at evenly spaced shares and some more at the top."""
    shares = np.unique(np.concatenate([np.linspace(0, 1, CDF_POINTS), TAIL]))
    found = np.quantile(np.asarray(values, dtype=np.float64), shares).astype(np.float64)
    return found, shares


def time_line(traffic: Traffic, *, parts: int, end_s: float) -> TimeLine:
    """From the start to `end_s`."""
    edges = np.linspace(0.0, max(end_s, 1e-3), parts + 1)
    width = edges[1]
    waited = _since(traffic.sent_s, edges) - _since(traffic.ended_s, edges)
    pieces, _ = np.histogram(traffic.pieces_s, edges)
    failed, _ = np.histogram(traffic.failed_s, edges)
    return TimeLine(edges, np.diff(waited) / width, pieces / width, failed.astype(np.float64))


def _since(stamps: Sequence[float], edges: Floats) -> Floats:
    """The seconds that have gone by since each stamp, summed, at every edge."""
    ordered = np.sort(np.asarray(stamps, dtype=np.float64))
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    before = np.searchsorted(ordered, edges, side="right")
    found: Floats = before * edges - sums[before]
    return found

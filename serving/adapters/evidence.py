"""Whether a canary is worse than what is live, so that chance does not say so: figures in, a verdict out.

Each test asks for more than the bound: the nearer end of an interval must lie beyond it. The intervals are wide
(`Z` = 3.5, about one in 4,000), because a trial is looked at every few seconds for as long as it goes on. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Z = 3.5
SCORE_Z = 2.6
"""Scores come once per suite, not again and again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much worse a canary may be: failures in a call (0…1) more, latency as a ratio, score (0…1) less; and from how
    many of its calls on it is judged.
    """

    error_rate: float = 0.02
    latency_ratio: float = 1.5
    score: float = 0.02
    min_calls: int = 20

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Bounds:
        """The bounds that were asked for, over the usual ones."""
        return cls(**{name: told[name] for name in told if name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a trial: calls, those that failed, and the latencies of the others in milliseconds."""

    calls: int
    failed: int
    latencies_ms: Sequence[float]


@dataclass(frozen=True, slots=True)
class Score:
    """Exact answers on one suite of examples."""

    passed: int
    count: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a canary ends: which quantity, on both sides, how far beyond the bound."""

    quantity: str
    live: float
    canary: float
    at_least: float
    bound: float
    counts: tuple[int, int]

    def told(self) -> dict[str, Any]:
        """For the audit."""
        return asdict(self)


def worse(live: Side, canary: Side, bounds: Bounds) -> Finding | None:
    """What of the canary is worse beyond its bound; None as long as nothing is."""
    if canary.calls < bounds.min_calls or live.calls < bounds.min_calls:
        return None
    return _more_failures(live, canary, bounds) or _slower(live, canary, bounds)


def worse_score(suite: str, live: Score, canary: Score, *, bounds: Bounds) -> Finding | None:
    """Whether the canary has fewer right answers on a suite than the bound admits."""
    if not live.count or not canary.count:
        return None
    at_least = _rise(canary.passed, canary.count, of=(live.passed, live.count), z=SCORE_Z)
    if at_least <= bounds.score:
        return None
    rates = live.passed / live.count, canary.passed / canary.count
    return Finding(f"score of {suite}", *rates, at_least, bounds.score, (live.count, canary.count))


def wilson(passed: int, count: int, *, z: float) -> tuple[float, float]:
    """Wilson's score interval (1927) of a rate, `z` standard deviations wide to each side."""
    rate, spread = passed / count, z * z / count
    middle = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def median_interval(values: Sequence[float], *, z: float) -> tuple[float, float]:
    """An interval of the median by order statistics, whatever the distribution (binomial, normal approximation)."""
    ranked, half = sorted(values), z * math.sqrt(len(values)) / 2
    low = max(0, math.floor(len(values) / 2 - half) - 1)
    high = min(len(values) - 1, math.ceil(len(values) / 2 + half))
    return ranked[low], ranked[high]


def _more_failures(live: Side, canary: Side, bounds: Bounds) -> Finding | None:
    at_least = _rise(live.failed, live.calls, of=(canary.failed, canary.calls), z=Z)
    if at_least <= bounds.error_rate:
        return None
    rates = live.failed / live.calls, canary.failed / canary.calls
    return Finding("error_rate", *rates, at_least, bounds.error_rate, (live.calls, canary.calls))


def _slower(live: Side, canary: Side, bounds: Bounds) -> Finding | None:
    if min(len(live.latencies_ms), len(canary.latencies_ms)) < bounds.min_calls:
        return None
    (_, live_most), (canary_least, _) = (median_interval(side.latencies_ms, z=Z) for side in (live, canary))
    at_least = canary_least / max(live_most, 1e-9)
    if at_least <= bounds.latency_ratio:
        return None
    medians = [sorted(side.latencies_ms)[len(side.latencies_ms) // 2] for side in (live, canary)]
    counts = len(live.latencies_ms), len(canary.latencies_ms)
    return Finding("latency_ms", medians[0], medians[1], at_least, bounds.latency_ratio, counts)


def _rise(passed: int, count: int, *, of: tuple[int, int], z: float) -> float:
    """The least by which the second rate is higher than the first (Newcombe's hybrid interval, 1998, method 10)."""
    first, second = passed / count, of[0] / of[1]
    _, first_high = wilson(passed, count, z=z)
    second_low, _ = wilson(*of, z=z)
    return second - first - math.hypot(second - second_low, first_high - first)

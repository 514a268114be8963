"""Medians with their uncertainty. Pure: numbers in, numbers out, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

RESAMPLES = 2_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median and its bootstrap 95 % interval over `count` repetitions."""

    median: float
    low: float
    high: float
    count: int


def estimate(values: Sequence[float], *, seed: int) -> Estimate:
    """The median of repetitions; the interval is the percentile bootstrap's."""
    if not values:
        raise ValueError("an estimate needs at least one value")
    chance = random.Random(seed)
    medians = sorted(median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    tail = (1 - CONFIDENCE) / 2
    return Estimate(
        median=median(values),
        low=medians[int(tail * RESAMPLES)],
        high=medians[int((1 - tail) * RESAMPLES) - 1],
        count=len(values),
    )


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Pair by pair: both lists hold one value per round, in the order of the rounds."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def gaps(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Pair by pair, what we take longer."""
    return [mine - other for mine, other in zip(ours, theirs, strict=True)]

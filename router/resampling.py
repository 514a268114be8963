"""Intervals by drawing again: prompts one by one, or whole units of them that were never drawn apart.

Owns the draws, the same for the same seed, and the percentile interval; knows no metric.

A unit is what came in one piece: the prompts of a subject, the same prompt written twice. Prompts of a unit resemble
each other, so ten of one tell less than one each of ten; drawing units whole says so (the cluster bootstrap, Field &
Welsh 2007). On made sets with an effect per unit and twelve prompts of each, 95 % intervals of a mean held the true one
in 86 % of 600 draws with 6 units, in 91 % with 10 and in 94 % with 20 or 50; those over single prompts in 71 to 76 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval; both ends are NaN where too few resamples have a value."""

    low: float
    high: float


NONE = Interval(float("nan"), float("nan"))


def numbered(units: Sequence[str]) -> IntArray:
    """A number for each prompt's unit, `[n]`, counted from 0 as they first come."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(unit, len(numbers)) for unit in units], dtype=np.int64)


def resampled(units: IntArray, *, seed: int, resamples: int = RESAMPLES) -> Iterator[IntArray]:
    """The row numbers of each resample: as many units as there are, drawn with replacement, each with all its prompts.

    `units[n]` numbers them from 0 without gaps. Where every prompt is a unit, a resample has n rows, otherwise about as
    many. Raises `ValueError` for no prompts or no resamples.
    """
    if not len(units) or resamples < 1:
        raise ValueError("a bootstrap needs at least one prompt and one resample")
    chance = np.random.default_rng(seed)
    order, sizes = np.argsort(units, kind="stable"), np.bincount(units)
    starts, number = np.cumsum(sizes) - sizes, len(sizes)
    for _ in range(resamples):
        drawn = chance.integers(number, size=number)
        ends = np.cumsum(sizes[drawn])
        within = np.arange(ends[-1]) - np.repeat(ends - sizes[drawn], sizes[drawn])
        yield order[np.repeat(starts[drawn], sizes[drawn]) + within]


def values(
    statistic: Callable[[IntArray], float], units: IntArray, *, seed: int, resamples: int = RESAMPLES
) -> list[float]:
    """The statistic of each resample that it has a value for: one for which it raises `ValueError` is left out."""
    found = (_value(statistic, rows) for rows in resampled(units, seed=seed, resamples=resamples))
    return [value for value in found if value is not None]


def bootstrap(
    count: int,
    statistic: Callable[[IntArray], float],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    units: IntArray | None = None,
) -> Interval:
    """The percentile bootstrap's 95 % interval of a statistic over `count` prompts.

    The statistic gets the row numbers of one resample; `units[count]` are drawn whole, by default every prompt is one.
    A resample for which it raises `ValueError` (no gap to recover) is left out; with fewer than half of them left, and
    with several prompts of a single unit, both ends are NaN. Raises `ValueError` for no prompts or no resamples.
    """
    kept = values(statistic, np.arange(count) if units is None else units, seed=seed, resamples=resamples)
    return NONE if 2 * len(kept) < resamples or single(units) else middle(kept)


def single(units: IntArray | None) -> bool:
    """Whether several prompts are one unit: drawing it again tells nothing."""
    return units is not None and len(units) > 1 and not units.any()


def middle(drawn: Sequence[float]) -> Interval:
    """The middle 95 % of them."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Interval(float(low), float(high))


def _value(statistic: Callable[[IntArray], float], rows: IntArray) -> float | None:
    try:
        return statistic(rows)
    except ValueError:
        return None

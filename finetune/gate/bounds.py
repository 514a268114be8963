"""Bounds of a mean that also hold for few examples. Pure: numbers in, numbers out, the same for the same seed.

A percentile bootstrap over the examples (Efron 1979), with one more example that went against the claim: of 20 examples
without a single loss it does not follow that there are none. It comes to the rule of three (Hanley and Lippman-Hand
1983): 0 of n losses leaves a rate up to about 3/n possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.estimates import RESAMPLES

CELLS = 4_000_000
WORST = 1.0
"""Differences of scores lie between -1 and 1."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of `count` differences, and the one-sided bounds below and above it."""

    mean: float
    low: float
    high: float
    count: int


def interval(differences: Sequence[float], *, confidence: float, seed: int) -> Interval:
    """Each bound holds with this confidence by itself. Raises `ValueError` for no differences."""
    if not differences:
        raise ValueError("an interval needs at least one difference")
    low = np.quantile(_means([*differences, -WORST], seed), 1 - confidence)
    high = np.quantile(_means([*differences, WORST], seed), confidence)
    return Interval(float(np.mean(differences)), float(low), float(high), len(differences))


def _means(values: Sequence[float], seed: int) -> npt.NDArray[np.float64]:
    """The means of `RESAMPLES` samples with replacement: how often each value comes is multinomial."""
    different, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    chance, shares = np.random.default_rng(seed), counts / len(values)
    step = max(1, min(RESAMPLES, CELLS // len(different)))
    parts = [
        chance.multinomial(len(values), shares, size=min(step, RESAMPLES - begun)) @ different
        for begun in range(0, RESAMPLES, step)
    ]
    means: npt.NDArray[np.float64] = np.concatenate(parts) / len(values)
    return means

"""A floor of quality that holds: the smallest share of large calls that is sure to keep it, as far as labels can tell.

Owns the bound and the search, on scores and labels alone. What is kept is a share of always-large's quality: the mean
quality at a threshold over the large tier's mean.

A threshold that just keeps the floor on the labelled prompts misses it on every other draw of prompts. So a lower bound
must keep it: a quantile of the kept share over resamples of whole units (`router/resampling.py`), to each of which a
unit is added that the large tier answers and the small one, asked instead, does not. Without that unit a loss that 50
prompts do not show would count as impossible; with it, no loss among n units still leaves room for about 3/n ("rule of
three", Hanley & Lippman-Hand 1983). Thresholds are tried from always-large down and the first that fails ends the
search, so that trying many of them does not make a lucky one likely (fixed-sequence testing; Angelopoulos et al. 2021,
"Learn then Test").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from router.evaluate import Outcomes
from router.model import ALWAYS_LARGE, ALWAYS_SMALL
from router.resampling import FloatArray, IntArray

CONFIDENCE = 0.95
RESAMPLES = 2_000
BLOCK = 200
"""Resamples at once: memory stays at megabytes."""
CANDIDATES = 200
"""Thresholds that are tried at most, in equal steps of the share."""
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Kept:
    """A threshold, the `share` of these prompts that it sends to the large tier, and their mean `quality`, 0…1.

    `kept` is the quality over always-large's (above 1 where the small tier helps), `low` what it is at least, with the
    confidence that was asked for, on average over prompts like these. `again` is the probability that as many other
    prompts like these keep the floor: lower, because their own draw is one more chance to miss.
    """

    threshold: float
    share: float
    quality: float
    kept: float
    low: float
    again: float


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Labelled prompts with their scores: the `gain[n]`, the `outcomes` of both tiers, and `units[n]` of prompts."""

    gain: FloatArray
    outcomes: Outcomes
    units: IntArray

    def quality(self, threshold: float) -> FloatArray:
        """Of each prompt's answer at this threshold, `[n]`."""
        return np.where(self.gain >= threshold, self.outcomes.strong, self.outcomes.weak)


def keep(judged: Judged, floor: float, *, confidence: float = CONFIDENCE, seed: int = 0) -> Kept:
    """The smallest share whose kept quality is at least `floor` (0…1) with this `confidence` (0…1), and so is that of
    every larger share that was tried. Always-large keeps every floor."""
    thresholds = candidates(judged.gain)
    drawn = _drawn(judged, thresholds, seed=seed)
    low = np.quantile(drawn, 1 - confidence, axis=0)
    low[0] = 1.0
    fails = np.flatnonzero(low < floor - ROUNDING)
    at = int(fails[0]) - 1 if len(fails) else len(thresholds) - 1
    quality = judged.quality(thresholds[at])
    strong = judged.outcomes.strong.mean()
    kept = float(quality.mean() / strong) if strong else 1.0
    return Kept(
        threshold=thresholds[at],
        share=float(np.mean(judged.gain >= thresholds[at])),
        quality=float(quality.mean()),
        kept=kept,
        low=float(low[at]),
        again=1.0 if at == 0 else _again(drawn[:, at], floor),
    )


def candidates(gain: FloatArray) -> tuple[float, ...]:
    """Always-large, gains that divide the prompts in about equal steps, and always-small; from the lowest threshold."""
    found = np.unique(gain)
    if len(found) > CANDIDATES:
        found = np.unique(np.quantile(gain, np.linspace(0, 1, CANDIDATES), method="inverted_cdf"))
    return (ALWAYS_LARGE, *map(float, found[1:]), ALWAYS_SMALL)


def _again(drawn: FloatArray, floor: float) -> float:
    """How often the middle of the resamples, moved as far as two of them lie apart, keeps the floor."""
    apart = drawn - np.roll(drawn, 1)
    return float(np.mean(drawn.mean() + apart >= floor - ROUNDING))


def _drawn(judged: Judged, thresholds: tuple[float, ...], *, seed: int) -> FloatArray:
    """What each resample keeps at each threshold, `[resamples, thresholds]`; 1 where the large tier has no right
    answer."""
    count = int(judged.units.max()) + 1

    def sums(quality: FloatArray, unseen: float) -> FloatArray:
        return np.append(np.bincount(judged.units, quality, minlength=count), unseen)

    each = len(judged.units) / count
    quality = np.stack([sums(judged.quality(threshold), 0.0) for threshold in thresholds], axis=1)
    large = sums(judged.outcomes.strong, each)
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES // BLOCK):
        times = chance.multinomial(count + 1, np.full(count + 1, 1 / (count + 1)), size=BLOCK).astype(np.float64)
        whole = (times @ large)[:, None]
        found.append(np.divide(times @ quality, whole, out=np.ones((BLOCK, len(thresholds))), where=whole > 0))
    return np.concatenate(found)

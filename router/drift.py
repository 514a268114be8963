"""Whether the prompts of now are like those that a router model learned from. Pure: no clock, no file, no thread.

Kept with a model are ten bins for each of: the gain (one for each policy), the distance to the nearest example, and the
first eight principal axes of the sentence vectors. Serving counts its last prompts into them.

The measure is the population stability index, Σ (p − q) · ln(p / q) over the bins, p being the shares of now and q
those of the training prompts: Siddiqi, "Credit Risk Scorecards" (2006), with its limits 0.1 and 0.25; it is the
symmetric divergence of Kullback and Leibler, "On Information and Sufficiency" (1951). For samples of n and m prompts of
one distribution it is about (1/n + 1/m) times a χ² of bins − 1 degrees (Yurdakul, "Statistical Properties of Population
Stability Index", 2018): (bins − 1) · (1/n + 1/m) on average and not 0, so that much is taken off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router.heads import DIGITS
from router.manifest import PolicyName

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Counts = Mapping[str, tuple[int, ...]]
"""Quantity → prompts in each of its bins. Those of several processes are added by `merged`."""
Verdict = Literal["too few", "stable", "shifting", "shifted"]

BINS = 10
DIRECTIONS = 8
WINDOW = 2000
FEWEST = 200
SHIFTING, SHIFTED = 0.1, 0.25
DISTANCE = "distance"
ARRAYS = ("mean", "axes", "edges", "counts")


class Shift(NamedTuple):
    """How far a quantity has moved: its index (None for too few prompts), of how many prompts, and in a word."""

    psi: float | None
    prompts: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Reference:
    """The training prompts in bins: `names` of q quantities, `edges` (float64 `[q, 9]`), `counts` (int64 `[q, 10]`).

    `mean` `[d]` and `axes` `[d, a]` (float32) make the principal axes of a sentence vector. A value on an edge belongs
    to the bin above it.
    """

    names: tuple[str, ...]
    mean: Floats
    axes: Floats
    edges: Doubles
    counts: NDArray[np.int64]

    @classmethod
    def learn(cls, sentence: Floats, *, gains: Mapping[PolicyName, Doubles], distance: Doubles) -> Reference:
        """The bins of training prompts: their vectors `[n, d]`, what each policy said of them when they were held out
        (`[n]`), and how far apart the examples are (`[m]`)."""
        mean = sentence.mean(axis=0)
        _, found = np.linalg.eigh((sentence - mean).T @ (sentence - mean))
        axes = np.ascontiguousarray(found[:, ::-1][:, :DIRECTIONS]).astype(np.float32)
        seen = [*gains.values(), distance, *_along(sentence, mean, axes=axes).T]
        edges = np.stack([np.quantile(values, np.arange(1, BINS) / BINS) for values in seen])
        counts = [np.bincount(_places(row, values), minlength=BINS) for row, values in zip(edges, seen, strict=True)]
        return cls(_names(gains, axes), mean, axes, edges, np.stack(counts))

    def places(self, sentence: Floats, *, values: Mapping[str, Doubles]) -> NDArray[np.int8]:
        """The bin of each prompt for each quantity, `[n, q]`; −1 for a quantity that is not among the `values` (`[n]`
        each). The axes come from the vectors `[n, d]`."""
        along = _along(sentence, self.mean, axes=self.axes).T
        seen = dict(zip(self.names[-len(along) :], along, strict=True)) | dict(values)
        found = np.full((len(sentence), len(self.names)), -1, np.int8)
        for at, name in enumerate(self.names):
            if name in seen:
                found[:, at] = _places(self.edges[at], seen[name])
        return found

    @property
    def training(self) -> Counts:
        """The training prompts in each bin of each quantity."""
        return {name: tuple(map(int, known)) for name, known in zip(self.names, self.counts, strict=True)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The bins as named arrays, for a file."""
        return {f"drift.{part}": np.ascontiguousarray(getattr(self, part)) for part in ARRAYS}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], *, policies: Iterable[PolicyName], width: int) -> Reference:
        """What `arrays` wrote, for these policies and vectors of this width. Raises `KeyError` for a missing part,
        `ValueError` for a wrong one."""
        mean, axes, edges, counts = (arrays[f"drift.{part}"] for part in ARRAYS)
        if mean.shape != (width,) or axes.shape[:1] != (width,):
            raise ValueError("the principal axes do not fit the sentence vectors")
        names = _names(policies, axes)
        if edges.shape != (len(names), BINS - 1) or counts.shape != (len(names), BINS):
            raise ValueError("the bins of the training prompts do not fit their quantities")
        if (np.diff(edges) < 0).any() or counts.min() < 0 or (counts.sum(axis=1) < 1).any():
            raise ValueError("the bins of the training prompts are none")
        return cls(names, mean, axes, edges, counts)


class Drift:
    """The last 2,000 prompts of one process, in the bins of a reference. Whoever calls it calls it from one thread."""

    def __init__(self, reference: Reference, *, window: int = WINDOW) -> None:
        self.reference = reference
        self._seen = np.full((window, len(reference.names)), -1, np.int8)
        self._next = 0

    def add(self, sentence: Floats, *, gain: Doubles, distance: Doubles, policy: PolicyName) -> None:
        """Count prompts: their vectors `[n, d]`, and what this policy's `Scores` said of them, `[n]` each. The oldest
        fall out of the window."""
        values = {gain_of(policy): gain, DISTANCE: distance}
        places = self.reference.places(sentence, values=values)[-len(self._seen) :]
        rows = (self._next + np.arange(len(places))) % len(self._seen)
        self._seen[rows] = places
        self._next = int((self._next + len(places)) % len(self._seen))

    def counts(self) -> Counts:
        """The prompts of the window in each bin of each quantity."""
        columns = zip(self.reference.names, self._seen.T, strict=True)
        return {name: tuple(map(int, np.bincount(column[column >= 0], minlength=BINS))) for name, column in columns}


def shifts_of(now: Counts, training: Counts) -> dict[str, Shift]:
    """How far each quantity of the training has moved; one that nobody counted, as that of another policy, is left
    out."""
    return {
        name: _shift(np.array(now[name]), np.array(known)) for name, known in training.items() if any(now.get(name, ()))
    }


def merged(parts: Iterable[Counts]) -> Counts:
    """The counts of several processes as one."""
    found: dict[str, tuple[int, ...]] = {}
    for part in parts:
        for name, counts in part.items():
            before = found.get(name, (0,) * len(counts))
            found[name] = tuple(one + other for one, other in zip(before, counts, strict=True))
    return found


def gain_of(policy: PolicyName) -> str:
    """The quantity's name for the gain as this policy says it."""
    return f"gain {policy}"


def _shift(counts: NDArray[np.int64], known: NDArray[np.int64]) -> Shift:
    """A bin without a prompt counts half a one, so that the logarithm is finite; bins that nobody is in are none."""
    now, then = int(counts.sum()), int(known.sum())
    if now < FEWEST:
        return Shift(None, now, "too few")
    used = (counts > 0) | (known > 0)
    share, before = np.maximum(counts[used], 0.5) / now, np.maximum(known[used], 0.5) / then
    index = float(((share - before) * np.log(share / before)).sum())
    chance = (int(used.sum()) - 1) * (1 / now + 1 / then)
    return _told(max(0.0, index - chance), prompts=now)


def _told(psi: float, *, prompts: int) -> Shift:
    if psi < SHIFTING:
        return Shift(psi, prompts, "stable")
    return Shift(psi, prompts, "shifting" if psi < SHIFTED else "shifted")


def _names(policies: Iterable[PolicyName], axes: Floats) -> tuple[str, ...]:
    return (*map(gain_of, policies), DISTANCE, *(f"axis {at}" for at in range(1, axes.shape[1] + 1)))


def _along(sentence: Floats, mean: Floats, *, axes: Floats) -> Doubles:
    """The vectors along the axes, `[n, a]`. Rounded, so that a value on an edge is there in a batch and alone."""
    along: Doubles = np.asarray((sentence - mean) @ axes, np.float64)
    return np.round(along, DIGITS)


def _places(edges: Doubles, values: Doubles) -> NDArray[np.intp]:
    return np.searchsorted(edges, values, side="right")

"""From features and labels to a `RouterModel`. Owns the recipe; reads no file and prints nothing.

The forest is LightGBM's, grown in two halves on different draws; the linear part is ridge regression. How much each
counts is fitted on prompts that neither had seen (stacking), which also sets the scale of the answer. The gain's
quantiles on those same held-out prompts are what a share of large calls is turned into a threshold with.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from models.embedders import Embedder
from router.drift import Reference
from router.examples import Examples, fingerprints
from router.heads import DIGITS, HEADS, Axes, Head, columns
from router.manifest import Manifest, PolicyName
from router.model import Prompts, RouterModel
from router.training.data import Labelled
from router.training.doubts import doubts
from router.training.folds import splits
from router.training.growth import GROWTH, ROUNDS, as_forest

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Gains = dict[PolicyName, Doubles]

AXES = 64
"""Principal axes of each depth that the forest sees."""
PENALTY = 30.0
"""Of the ridge, in units of the mean squared standard row."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model, and what either policy said of every training prompt when that was held out: `gain`, `knn`, `[n]`."""

    model: RouterModel
    gain: Doubles
    knn: Doubles


@dataclass(frozen=True, slots=True)
class Recipe:
    """Who made the features, how the draws begin, and how many trees each half has. `heard` is called behind each of
    `FOLDS + 1` steps."""

    embedder: str
    depths: tuple[int, ...]
    max_tokens: int
    seed: int = 0
    rounds: int = ROUNDS
    heard: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, embedder: Embedder, *, seed: int, rounds: int, heard: Callable[[], None]) -> Recipe:
        """The recipe for features that this embedder made."""
        return cls(embedder.id, embedder.depths, embedder.max_tokens, seed, rounds, heard)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is fitted to one set of prompts, head by head: ridge and the forest's halves."""

    axes: Axes
    weights: Floats
    bias: Doubles
    halves: tuple[tuple[lightgbm.Booster, lightgbm.Booster], ...]

    def answers(self, prompts: Prompts) -> tuple[Doubles, Doubles]:
        """Linear answers `[n, heads]`, and those of the forest's halves `[n, heads, 2]`."""
        standard = self.axes.standard(prompts.depths)
        rows = columns(prompts.surface, self.axes.along(standard))
        linear = self.axes.linear(standard, prompts.surface) @ self.weights + self.bias
        halves = [np.stack([np.asarray(half.predict(rows)) for half in pair], axis=1) for pair in self.halves]
        return linear.astype(np.float64), np.stack(halves, axis=1)


@dataclass(frozen=True, slots=True)
class _Held:
    """What was said of the training prompts while they were held out, `[n, heads]`, halves `[n, heads, 2]`, knn
    `[n]`."""

    linear: Doubles
    halves: Doubles
    knn: Doubles
    knn_error: Doubles


def train(prompts: Prompts, labelled: Labelled, *, recipe: Recipe) -> Trained:
    """Fit the model to these prompts. Takes seconds for thousands of them on one core.

    Prompts of a group, or the same prompt twice, are held out together. Raises `ValueError` where all are the same.
    """
    targets = np.stack([labelled.strong - labelled.weak, labelled.weak], axis=1)
    held = _held_out(prompts, labelled, targets=targets, recipe=recipe)
    whole = _fit(prompts, targets, recipe=recipe)
    recipe.heard()
    middles = targets.mean(axis=0)
    forest = held.halves.mean(axis=2)
    shares = [_shares(held.linear[:, at], forest[:, at], target=targets[:, at]) for at in range(len(HEADS))]
    gain = middles[0] + shares[0][0] * (held.linear[:, 0] - middles[0]) + shares[0][1] * (forest[:, 0] - middles[0])
    gains: Gains = {"learned": np.clip(np.round(gain, DIGITS), -1, 1), "knn": held.knn}
    apart = shares[0][1] * np.abs(held.halves[:, 0, 0] - held.halves[:, 0, 1]) / 2
    heads = {
        name: Head(
            middle=float(middles[at]),
            shares=shares[at],
            weights=np.ascontiguousarray(whole.weights[:, at]),
            bias=float(whole.bias[at]),
            halves=(as_forest(whole.halves[at][0]), as_forest(whole.halves[at][1])),
        )
        for at, name in enumerate(HEADS)
    }
    examples = _examples(prompts, labelled, seed=recipe.seed)
    distance = examples.apart()
    model = RouterModel(
        manifest=Manifest(
            embedder=recipe.embedder,
            depths=recipe.depths,
            max_tokens=recipe.max_tokens,
            small=labelled.names[0],
            large=labelled.names[1],
            data_digest=labelled.digest,
            prompts=len(labelled),
            seed=recipe.seed,
            warnings=doubts(labelled, gains),
            quantiles=_quantiles(gains),
            widest={"learned": float(apart.max()), "knn": float(held.knn_error.max())},
            farthest=float(distance.max()),
        ),
        axes=whole.axes,
        heads=heads,
        examples=examples,
        reference=Reference.learn(prompts.sentence, gains=gains, distance=distance),
        known=np.unique(fingerprints(labelled.prompts)),
    )
    return Trained(model, gains["learned"], gains["knn"])


def _held_out(prompts: Prompts, labelled: Labelled, *, targets: Doubles, recipe: Recipe) -> _Held:
    """Every prompt answered by parts, and by examples, that saw neither it nor what belongs to it."""
    count = len(labelled)
    linear, halves = np.zeros_like(targets), np.zeros((count, len(HEADS), 2))
    knn, error = np.zeros(count), np.zeros(count)
    for rest, held in splits(labelled.units, seed=recipe.seed):
        asked = prompts.take(held)
        linear[held], halves[held] = _fit(prompts.take(rest), targets[rest], recipe=recipe).answers(asked)
        votes = _examples(prompts.take(rest), labelled.take(rest), seed=recipe.seed).votes(asked.sentence)
        knn[held], error[held] = votes.gain, votes.error
        recipe.heard()
    return _Held(linear, halves, knn, error)


def _examples(prompts: Prompts, labelled: Labelled, *, seed: int) -> Examples:
    return Examples.sample(
        prompts.sentence, small=labelled.weak, large=labelled.strong, texts=labelled.prompts, seed=seed
    )


def _quantiles(gains: Gains) -> dict[PolicyName, tuple[float, ...]]:
    steps = np.linspace(0, 1, 101)
    return {policy: tuple(map(float, np.quantile(gain, steps))) for policy, gain in gains.items()}


def _fit(prompts: Prompts, targets: Doubles, *, recipe: Recipe) -> _Parts:
    axes = _axes(prompts)
    standard = axes.standard(prompts.depths)
    weights, bias = _ridge(axes.linear(standard, prompts.surface), targets)
    rows = columns(prompts.surface, axes.along(standard))

    def half(number: int) -> lightgbm.Booster:
        head, draw = divmod(number, 2)
        seed = 2 * recipe.seed + draw
        return lightgbm.train({**GROWTH, "seed": seed}, lightgbm.Dataset(rows, targets[:, head]), recipe.rounds)

    with ThreadPoolExecutor() as pool:
        grown = list(pool.map(half, range(2 * targets.shape[1])))
    return _Parts(axes, weights, bias, tuple(zip(grown[::2], grown[1::2], strict=True)))


def _axes(prompts: Prompts) -> Axes:
    depths, logs = prompts.depths, np.log1p(prompts.surface)
    mean, scale = depths.mean(axis=0), depths.std(axis=0) + np.float32(1e-6)
    standard = (depths - mean) / scale
    found = [np.linalg.eigh(standard[:, at].T @ standard[:, at])[1][:, ::-1] for at in range(depths.shape[1])]
    return Axes(
        mean=mean,
        scale=scale,
        axes=np.stack(found)[:, :, : min(AXES, depths.shape[2])].astype(np.float32),
        surface_mean=logs.mean(axis=0),
        surface_scale=np.where(logs.std(axis=0) > 0, logs.std(axis=0), np.float32(1)),
    )


def _ridge(rows: Floats, targets: Doubles) -> tuple[Floats, Doubles]:
    """Weights `[features, heads]` and bias `[heads]`; the rows have mean 0."""
    middle = targets.mean(axis=0)
    gram = rows.T @ rows + PENALTY * rows.shape[1] * np.eye(rows.shape[1], dtype=np.float32)
    weights = np.linalg.solve(gram, rows.T @ (targets - middle).astype(np.float32))
    return weights.astype(np.float32), middle


def _shares(linear: Doubles, forest: Doubles, *, target: Doubles) -> tuple[float, float]:
    """How much either part counts: least squares with no negative share."""
    middle = target.mean()
    found, _ = nnls(np.stack([linear - middle, forest - middle], axis=1), target - middle)
    return float(found[0]), float(found[1])

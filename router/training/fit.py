"""From features and labels to a `RouterModel`. Owns the recipe; reads no file and prints nothing.

The forest is LightGBM's, grown in two halves on different draws; the linear part is ridge regression. How much each
counts is fitted on prompts that neither had seen (stacking), which also sets the scale of the answer. The gain's
quantiles on those same held-out prompts are what a share of large calls is turned into a threshold with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from router.model import HEADS, Axes, Head, Manifest, Prompts, RouterModel, columns
from router.training.data import Labelled
from router.trees import Forest

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]

FOLDS = 5
AXES = 64
"""Principal axes of each depth that the forest sees."""
PENALTY = 30.0
"""Of the ridge, in units of the mean squared standard row."""
ROUNDS = 400
GROWTH = {
    "objective": "l2",
    "num_leaves": 8,
    "learning_rate": 0.02,
    "min_data_in_leaf": 30,
    "feature_fraction": 0.08,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,  # one per forest, several forests at once: threads that wait for each other stall a busy machine
    "verbose": -1,
}


@dataclass(frozen=True, slots=True)
class Trained:
    """A model, and the answers of its kind on every training prompt, held out in turn: `gain` and `small`, `[n]`."""

    model: RouterModel
    gain: Doubles
    small: Doubles


@dataclass(frozen=True, slots=True)
class Recipe:
    """Who made the features, how the draws begin, and how many trees each half has. `heard` is called behind each of
    `FOLDS + 1` steps."""

    embedder: str
    depths: tuple[int, ...]
    seed: int = 0
    rounds: int = ROUNDS
    heard: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is fitted to one set of prompts, head by head: ridge and the forest's halves."""

    axes: Axes
    weights: Floats
    bias: Doubles
    halves: tuple[tuple[lightgbm.Booster, lightgbm.Booster], ...]

    def answers(self, prompts: Prompts) -> tuple[Doubles, Doubles]:
        """Linear and forest answers, `[n, heads]` each."""
        standard = self.axes.standard(prompts.depths)
        rows = columns(prompts.surface, self.axes.along(standard))
        linear = self.axes.linear(standard, prompts.surface) @ self.weights + self.bias
        forests = [sum(np.asarray(half.predict(rows)) for half in pair) / 2 for pair in self.halves]
        return linear.astype(np.float64), np.stack(forests, axis=1)


def folds(count: int, *, seed: int, number: int = FOLDS) -> Iterator[tuple[Rows, Rows]]:
    """Which rows train and which are held out, `number` times; every row is held out once."""
    order = np.random.default_rng(seed).permutation(count)
    for held in np.array_split(order, number):
        yield np.setdiff1d(order, held), np.sort(held)


def splits(units: Sequence[str], *, seed: int) -> Iterator[tuple[Rows, Rows]]:
    """Folds that never part equal units (a prompt, a group): `FOLDS` of them, or as many as there are units.

    Raises `ValueError` where all units are the same.
    """
    names, member = np.unique(np.array([hash_of(unit) for unit in units]), return_inverse=True)
    if len(names) < 2:
        raise ValueError("all prompts are the same, or of one group: none can be held out")
    for rest, held in folds(len(names), seed=seed, number=min(FOLDS, len(names))):
        yield np.flatnonzero(np.isin(member, rest)), np.flatnonzero(np.isin(member, held))


def hash_of(unit: str) -> str:
    """Short, for a text of any length."""
    return hashlib.sha256(unit.encode(errors="surrogatepass")).hexdigest()[:16]


def train(prompts: Prompts, labelled: Labelled, *, recipe: Recipe) -> Trained:
    """Fit the model to these prompts. Takes seconds for thousands of them on one core.

    Prompts of a group, or the same prompt twice, are held out together. Raises `ValueError` where all are the same.
    """
    targets = np.stack([labelled.strong - labelled.weak, labelled.weak], axis=1)
    linear, forest = np.zeros_like(targets), np.zeros_like(targets)
    for rest, held in splits(labelled.units, seed=recipe.seed):
        parts = _fit(prompts.take(rest), targets[rest], recipe=recipe)
        linear[held], forest[held] = parts.answers(prompts.take(held))
        recipe.heard()
    whole = _fit(prompts, targets, recipe=recipe)
    recipe.heard()
    middles = targets.mean(axis=0)
    shares = [_shares(linear[:, at], forest[:, at], target=targets[:, at]) for at in range(len(HEADS))]
    held_out = [
        middle + share[0] * (linear[:, at] - middle) + share[1] * (forest[:, at] - middle)
        for at, (middle, share) in enumerate(zip(middles, shares, strict=True))
    ]
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
    manifest = Manifest(
        embedder=recipe.embedder,
        depths=recipe.depths,
        small=labelled.names[0],
        large=labelled.names[1],
        data_digest=labelled.digest,
        prompts=len(labelled),
        seed=recipe.seed,
        quantiles=tuple(map(float, np.quantile(held_out[0], np.linspace(0, 1, 101)))),
    )
    return Trained(RouterModel(manifest, whole.axes, heads), held_out[0], np.clip(held_out[1], 0, 1))


def as_forest(booster: lightgbm.Booster) -> Forest:
    """LightGBM's trees as arrays; the prediction is the same."""
    kept: dict[str, list[Any]] = {"feature": [], "left": [], "right": [], "threshold": [], "value": []}
    roots, depth = [], 0
    for tree in booster.dump_model()["tree_info"]:
        root, height = _grow(tree["tree_structure"], kept)
        roots.append(root)
        depth = max(depth, height)
    return Forest(
        roots=np.array(roots, np.int32),
        feature=np.array(kept["feature"], np.int32),
        left=np.array(kept["left"], np.int32),
        right=np.array(kept["right"], np.int32),
        threshold=np.array(kept["threshold"], np.float64),
        value=np.array(kept["value"], np.float64),
        depth=depth,
        scale=1.0,
    )


def _grow(node: dict[str, Any], kept: dict[str, list[Any]]) -> tuple[int, int]:
    """Append a node and everything below it; its number and how deep it goes."""
    at = len(kept["feature"])
    leaf = "leaf_value" in node
    kept["feature"].append(0 if leaf else node["split_feature"])
    kept["threshold"].append(0.0 if leaf else node["threshold"])
    kept["value"].append(node["leaf_value"] if leaf else 0.0)
    kept["left"].append(at)
    kept["right"].append(at)
    if leaf:
        return at, 0
    kept["left"][at], left = _grow(node["left_child"], kept)
    kept["right"][at], right = _grow(node["right_child"], kept)
    return at, 1 + max(left, right)


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

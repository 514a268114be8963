"""Gradient-boosted regression trees as plain arrays: how a trained forest is kept and asked. Trains nothing.

All trees of a forest are walked side by side, level by level, so that one prompt costs a handful of numpy calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Doubles = NDArray[np.float64]

PARTS = ("roots", "feature", "left", "right", "threshold", "value", "shape")


@dataclass(frozen=True, slots=True)
class Forest:
    """Every node of every tree in one line; `roots` (int32 `[trees]`) are where the trees begin.

    `feature`, `left`, `right`: int32 `[nodes]`; `threshold`, `value`: float64 `[nodes]`. A row goes left where its
    feature is ≤ the threshold; a leaf points at itself. `depth` is the longest way from a root to a leaf; the
    prediction is `scale` × the sum of the leaves.
    """

    roots: Ints
    feature: Ints
    left: Ints
    right: Ints
    threshold: Doubles
    value: Doubles
    depth: int
    scale: float

    def predict(self, rows: NDArray[Any]) -> Doubles:
        """The predictions `[n]` for rows `[n, features]`."""
        return np.array([self._one(row) for row in rows.astype(np.float64)])

    def _one(self, row: Doubles) -> float:
        node = self.roots
        for _ in range(self.depth):
            goes_left = row.take(self.feature.take(node)) <= self.threshold.take(node)
            node = np.where(goes_left, self.left.take(node), self.right.take(node))
        return float(self.value.take(node).sum()) * self.scale

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The forest as named arrays, for a file."""
        shape = np.array([self.depth, self.scale])
        tree = (self.roots, self.feature, self.left, self.right)
        found: tuple[NDArray[Any], ...] = (*tree, self.threshold, self.value, shape)
        return {f"{name}.{part}": array for part, array in zip(PARTS, found, strict=True)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], name: str, *, columns: int) -> Forest:
        """What `arrays` wrote, for rows of so many columns.

        Raises `KeyError` for a missing part, `ValueError` for one that could lead astray.
        """
        roots, feature, left, right, threshold, value, shape = (arrays[f"{name}.{part}"] for part in PARTS)
        made = cls(roots, feature, left, right, threshold, value, depth=int(shape[0]), scale=float(shape[1]))
        nodes = len(made.feature)
        if any(part.shape != (nodes,) for part in (made.left, made.right, made.threshold, made.value)):
            raise ValueError(f"the trees {name!r} have arrays of different lengths")
        if not all(_within(ways, nodes) for ways in (made.roots, made.left, made.right)):
            raise ValueError(f"the trees {name!r} point at nodes that they do not have")
        if not _within(made.feature, columns):
            raise ValueError(f"the trees {name!r} ask for features that there are not")
        if not (np.isfinite(made.value).all() and np.isfinite(made.scale) and 0 <= made.depth <= nodes):
            raise ValueError(f"the trees {name!r} hold values that are no numbers")
        return made


def _within(found: Ints, limit: int) -> bool:
    return found.dtype == np.int32 and found.size > 0 and found.min() >= 0 and found.max() < limit

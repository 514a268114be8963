"""Gradient-boosted regression trees as plain arrays: how a trained forest is kept and asked. Trains nothing.

All trees of a forest are walked side by side, level by level, so that one prompt costs a handful of numpy calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        return Grove([self]).predict(rows)[:, 0]

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


class Grove:
    """Forests that are asked together: all their trees are walked at once, which for one prompt costs what one forest
    would. Answers as each forest's own `predict` does."""

    def __init__(self, forests: Sequence[Forest]) -> None:
        """All for rows of the same columns."""
        starts = np.cumsum([0, *(len(forest.feature) for forest in forests)])[:-1].astype(np.intp)

        def joined(part: str, *, ways: bool = False) -> NDArray[Any]:
            placed = zip(forests, starts, strict=True)
            return np.concatenate([getattr(forest, part) + (start if ways else 0) for forest, start in placed])

        self._roots, self._left, self._right = (joined(part, ways=True) for part in ("roots", "left", "right"))
        self._feature = joined("feature").astype(np.intp)
        self._threshold, self._value = joined("threshold"), joined("value")
        self._depth = max(forest.depth for forest in forests)
        self._scales = np.array([forest.scale for forest in forests])
        self._firsts = np.cumsum([0, *(len(forest.roots) for forest in forests)])[:-1]

    def predict(self, rows: NDArray[Any]) -> Doubles:
        """The predictions `[n, forests]` for rows `[n, features]`."""
        return np.array([self._one(row) for row in rows.astype(np.float64)])

    def _one(self, row: Doubles) -> Doubles:
        node = self._roots
        for _ in range(self._depth):  # a leaf points at itself: those of a flatter forest stay where they are
            goes_left = row.take(self._feature.take(node)) <= self._threshold.take(node)
            node = np.where(goes_left, self._left.take(node), self._right.take(node))
        found: Doubles = np.add.reduceat(self._value.take(node), self._firsts) * self._scales
        return found


def _within(found: Ints, limit: int) -> bool:
    return found.dtype == np.int32 and found.size > 0 and found.min() >= 0 and found.max() < limit

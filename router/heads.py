"""The learned part of a router model: two heads, each a linear reading and a forest, on the features' own scale.

Owns the arithmetic and the shapes; what the heads are for is `router/model.py`, how they are fitted `router/training`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router.surface import NAMES
from router.trees import Forest

HEADS = ("gain", "small")
DIGITS = 6
"""Of an answer: the last bits depend on who else is in the batch, and equal prompts must be equal."""
FAR = np.float32(4)
"""Deviations at which a surface number is cut: a word that training saw once must not carry a prompt away."""
AXES_PARTS = ("mean", "scale", "axes", "surface_mean", "surface_scale")
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axes:
    """The features on the scale of the training prompts, and the depths' principal axes.

    `mean`, `scale`: `[k, d]`; `axes`: `[k, d, a]`; `surface_mean`, `surface_scale`: `[len(NAMES)]`, of the logarithms.
    """

    mean: Floats
    scale: Floats
    axes: Floats
    surface_mean: Floats
    surface_scale: Floats

    def standard(self, depths: Floats) -> Floats:
        """`[n, k, d]`, each column with mean 0 and deviation 1 over the training prompts."""
        scaled: Floats = (depths - self.mean) / self.scale
        return scaled

    def linear(self, standard: Floats, surface: Floats) -> Floats:
        """What the linear part sees, `[n, k·d + len(NAMES)]`: depths and surface, with equal weight as a whole."""
        depths = standard.reshape(len(standard), -1)
        logs = np.clip((np.log1p(surface) - self.surface_mean) / self.surface_scale, -FAR, FAR)
        return np.concatenate([depths, logs * np.float32(math.sqrt(depths.shape[1] / len(NAMES)))], axis=1)

    def along(self, standard: Floats) -> Floats:
        """`[n, k·a]`."""
        found: Floats = np.einsum("nkd,kda->nka", standard, self.axes).reshape(len(standard), -1)
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The axes as named arrays, for a file."""
        return {f"axes.{part}": np.ascontiguousarray(getattr(self, part)) for part in AXES_PARTS}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], *, depths: int) -> Axes:
        """What `arrays` wrote, for an embedder of so many depths. Raises `KeyError` and `ValueError` as `Head.of`."""
        made = cls(**{part: arrays[f"axes.{part}"] for part in AXES_PARTS})
        if made.mean.shape != made.axes.shape[:2] or made.mean.shape != made.scale.shape or len(made.mean) != depths:
            raise ValueError("the axes do not fit the manifest's depths")
        if any(part.shape != (len(NAMES),) for part in (made.surface_mean, made.surface_scale)):
            raise ValueError("the surface scales do not fit the features")
        return made


@dataclass(frozen=True, slots=True)
class Head:
    """One answer: `middle` + `shares` · (linear − middle, forest − middle). `halves` are the forest's two halves."""

    middle: float
    shares: tuple[float, float]
    weights: Floats
    bias: float
    halves: tuple[Forest, Forest]

    def answers(self, linear_rows: Floats, said: Doubles) -> tuple[Doubles, Doubles]:
        """The answers `[n]` and how far the halves' answers lie apart, halved. `said`: by the halves, `[n, 2]`."""
        linear = (linear_rows @ self.weights).astype(np.float64) + self.bias
        first, second = said.T
        forest = (first + second) / 2
        answer = self.middle + self.shares[0] * (linear - self.middle) + self.shares[1] * (forest - self.middle)
        return np.round(answer, DIGITS), self.shares[1] * np.abs(first - second) / 2

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The head as named arrays, for a file."""
        found: dict[str, NDArray[Any]] = {
            f"{name}.blend": np.array([self.middle, *self.shares, self.bias]),
            f"{name}.weights": self.weights,
        }
        for number, half in enumerate(self.halves):
            found |= half.arrays(f"{name}.half{number}")
        return found

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], name: str, *, axes: Axes) -> Head:
        """What `arrays` wrote, for these axes. Raises as `Forest.of`, and `ValueError` for weights of another width."""
        depths, width, along = axes.axes.shape
        middle, linear, forest, bias = (float(value) for value in arrays[f"{name}.blend"])
        seen = len(NAMES) + depths * along
        first, second = (Forest.of(arrays, f"{name}.half{number}", columns=seen) for number in (0, 1))
        weights = arrays[f"{name}.weights"]
        if weights.shape != (depths * width + len(NAMES),):
            raise ValueError("the linear weights do not fit the axes")
        return cls(middle, (linear, forest), weights, bias, (first, second))


def columns(surface: Floats, along: Floats) -> Floats:
    """What the forests see, `[n, len(NAMES) + k·a]`."""
    return np.concatenate([surface, along], axis=1)

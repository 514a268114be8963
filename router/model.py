"""The learned router's model: what it knows, how it scores, how it is kept. Trains nothing, reads no clock.

Two questions about a prompt are answered by the same means: how good the small tier's answer will be, and how much
better the large one's (the gain, which is what a large call buys). Each answer is a linear reading of the embedder's
depths and a forest over surface numbers and the depths' principal axes, weighed by how well each foretold prompts that
it had not seen (stacked generalisation, Wolpert 1992), so that the sum is calibrated.

Kept as `weights.safetensors` and `manifest.json`: numbers and names, nothing that runs.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.config import Frozen
from models.errors import ConfigurationError
from router.surface import NAMES, VERSION
from router.trees import Forest

FORMAT = 1
WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
HEADS = ("gain", "small")
DIGITS = 6
"""Of an answer: the last bits depend on who else is in the batch, and equal prompts must be equal."""
FAR = np.float32(4)
"""Deviations at which a surface number is cut: a word that training saw once must not carry a prompt away."""
AXES_PARTS = ("mean", "scale", "axes", "surface_mean", "surface_scale")
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a model sees of `n` prompts: `surface` `[n, len(NAMES)]`, `depths` `[n, k, d]`, `sentence` `[n, d]`."""

    surface: Floats
    depths: Floats
    sentence: Floats

    def __len__(self) -> int:
        return len(self.surface)

    def take(self, rows: NDArray[Any]) -> Prompts:
        """These rows alone."""
        return Prompts(self.surface[rows], self.depths[rows], self.sentence[rows])


@dataclass(frozen=True, slots=True)
class Scores:
    """Per prompt, each `[n]`: expected quality of either tier (0…1), the gain (large − small) that the threshold is
    compared with, and `error`: how far the draws of the training move the gain (half the distance of the forest's
    halves). It holds neither the noise of an answer nor that of the labels."""

    small: Doubles
    large: Doubles
    gain: Doubles
    error: Doubles


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


@dataclass(frozen=True, slots=True)
class Head:
    """One answer: `middle` + `shares` · (linear − middle, forest − middle). `halves` are the forest's two halves."""

    middle: float
    shares: tuple[float, float]
    weights: Floats
    bias: float
    halves: tuple[Forest, Forest]

    def answers(self, linear_rows: Floats, rows: Floats) -> tuple[Doubles, Doubles]:
        """The answers `[n]` and how far the halves' answers lie apart, halved."""
        linear = (linear_rows @ self.weights).astype(np.float64) + self.bias
        first, second = (half.predict(rows) for half in self.halves)
        forest = (first + second) / 2
        answer = self.middle + self.shares[0] * (linear - self.middle) + self.shares[1] * (forest - self.middle)
        return np.round(answer, DIGITS), self.shares[1] * np.abs(first - second) / 2


class Manifest(Frozen):
    """What a model says of itself."""

    format: int = Field(FORMAT, description="Of the file.")
    surface_version: int = Field(VERSION, description="Of `router/surface.py` that it was trained with.")
    embedder: str = Field(description="Id of the embedder that it was trained with.")
    depths: tuple[int, ...] = Field(description="The embedder's layers that it reads.")
    small: str = Field(description="What the small tier was called in the labels.")
    large: str = Field(description="What the large tier was called in the labels.")
    data_digest: str = Field(description="SHA-256 of the labelled data.")
    prompts: int = Field(ge=1, description="How many labelled prompts it was trained on.")
    seed: int = Field(description="Of its training.")
    weights_digest: str = Field("", description="SHA-256 of the weights; given when it is written.")
    quantiles: tuple[float, ...] = Field(description="The gain's 0, 1, … 100 % quantiles on prompts held out in turn.")
    threshold: float | None = Field(None, description="Gains from here on go to the large tier.")


@dataclass(frozen=True, slots=True)
class RouterModel:
    """A trained model and its manifest."""

    manifest: Manifest
    axes: Axes
    heads: Mapping[str, Head]

    def score(self, prompts: Prompts) -> Scores:
        """The scores of these prompts; they must come from the embedder that the manifest names."""
        standard = self.axes.standard(prompts.depths)
        rows = columns(prompts.surface, self.axes.along(standard))
        linear = self.axes.linear(standard, prompts.surface)
        gain, error = self.heads["gain"].answers(linear, rows)
        small = np.clip(self.heads["small"].answers(linear, rows)[0], 0.0, 1.0)
        return Scores(small, np.clip(small + gain, 0.0, 1.0), gain, error)

    def threshold_for(self, share: float) -> float:
        """The threshold from which on this share of prompts like the training ones goes to the large tier."""
        found = np.quantile(np.array(self.manifest.quantiles), 1.0 - share)
        return float(np.nextafter(self.manifest.quantiles[-1], np.inf)) if share <= 0 else float(found)

    def write(self, folder: Path) -> Manifest:
        """Write both files, the manifest last, and return it. A model that is there stays whole until both are written.

        Equal weights are not written again, so that a new threshold replaces one file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        weights = save(self._arrays())
        manifest = self.manifest.model_copy(update={"weights_digest": hashlib.sha256(weights).hexdigest()})
        kept = folder / WEIGHTS
        beside = {folder / MANIFEST: manifest.model_dump_json(indent=1).encode() + b"\n"}
        if not kept.exists() or kept.read_bytes() != weights:
            beside = {kept: weights, **beside}
        made = {file: file.with_name(f"{file.name}.{os.getpid()}") for file in beside}
        try:
            for file, content in beside.items():
                made[file].write_bytes(content)
            for file in beside:
                made[file].replace(file)
        finally:
            for file in made.values():
                file.unlink(missing_ok=True)
        return manifest

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {
            f"axes.{part}": np.ascontiguousarray(getattr(self.axes, part)) for part in AXES_PARTS
        }
        for name, head in self.heads.items():
            arrays[f"{name}.blend"] = np.array([head.middle, *head.shares, head.bias])
            arrays[f"{name}.weights"] = head.weights
            for number, half in enumerate(head.halves):
                arrays |= half.arrays(f"{name}.half{number}")
        return arrays


def columns(surface: Floats, along: Floats) -> Floats:
    """What the forests see, `[n, len(NAMES) + k·a]`."""
    return np.concatenate([surface, along], axis=1)


def read_model(folder: Path) -> RouterModel:
    """The model of a folder; raises `ConfigurationError` that names what is wrong with it."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{str(folder)!r} holds no router model.", detail=str(error)) from error
    except ValidationError as error:
        raise ConfigurationError(f"The manifest in {str(folder)!r} cannot be read.", detail=str(error)) from error
    if manifest.format != FORMAT:
        raise ConfigurationError(f"The router model has format {manifest.format}; this version reads {FORMAT}.")
    if manifest.surface_version != VERSION:
        raise ConfigurationError(
            f"The router model was trained on features of version {manifest.surface_version}; here it is {VERSION}."
            " Train it again: `penstock router train`."
        )
    if hashlib.sha256(weights).hexdigest() != manifest.weights_digest:
        raise ConfigurationError(f"The weights in {str(folder)!r} are not those that the manifest names.")
    try:
        return _model(manifest, load(weights))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ConfigurationError(f"The weights in {str(folder)!r} cannot be used.", detail=str(error)) from error


def _model(manifest: Manifest, arrays: Mapping[str, NDArray[Any]]) -> RouterModel:
    axes = Axes(**{part: arrays[f"axes.{part}"] for part in AXES_PARTS})
    depths, width, along = axes.axes.shape
    if axes.mean.shape != (depths, width) or depths != len(manifest.depths):
        raise ValueError("the axes do not fit the manifest's depths")
    if any(part.shape != (len(NAMES),) for part in (axes.surface_mean, axes.surface_scale)):
        raise ValueError("the surface scales do not fit the features")
    seen = len(NAMES) + depths * along
    heads = {name: _head(name, arrays=arrays, seen=seen) for name in HEADS}
    if any(head.weights.shape != (depths * width + len(NAMES),) for head in heads.values()):
        raise ValueError("the linear weights do not fit the axes")
    if not all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f"):
        raise ValueError("some weights are no numbers")
    return RouterModel(manifest, axes, heads)


def _head(name: str, *, arrays: Mapping[str, NDArray[Any]], seen: int) -> Head:
    middle, linear, forest, bias = (float(value) for value in arrays[f"{name}.blend"])
    first, second = (Forest.of(arrays, f"{name}.half{number}", columns=seen) for number in (0, 1))
    return Head(middle, (linear, forest), arrays[f"{name}.weights"], bias, (first, second))

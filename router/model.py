"""The learned router's model: what it knows, how it scores, how it is kept. Trains nothing, reads no clock.

Two questions about a prompt are answered by the same means: how good the small tier's answer will be, and how much
better the large one's (the gain, which is what a large call buys). Each answer is a linear reading of the embedder's
depths and a forest over surface numbers and the depths' principal axes, weighed by how well each foretold prompts that
it had not seen (stacked generalisation, Wolpert 1992), so that the sum is calibrated. Policy `knn` answers both from
the labelled prompts nearest to the one that is asked about.

Kept as `weights.safetensors` and `manifest.json`: numbers, names and the beginnings of labelled prompts; nothing that
runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.errors import ConfigurationError
from router.drift import Reference
from router.examples import Examples, Neighbour, fingerprints
from router.files import write_together
from router.heads import HEADS, Axes, Head, columns
from router.manifest import POLICIES, Manifest, PolicyName, read_manifest
from router.trees import Grove

WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
ALWAYS_SMALL, ALWAYS_LARGE = 2.0, -2.0
GRID = 0.01
"""Of the quantiles that are kept: shares are known as well as this."""
"""Thresholds that no gain reaches, and that every gain does: gains lie within −1…1."""
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
    """Per prompt, each `[n]`: expected quality of either tier (0…1), the gain (large − small, −1…1) that the threshold
    is compared with, `error`: how far the draws of the training move the gain, and `distance`: 1 − cosine to the
    nearest example.

    The error is half the distance of the forest's halves, or with `knn` the standard error over the neighbours. It
    holds neither the noise of an answer nor that of the labels.
    """

    small: Doubles
    large: Doubles
    gain: Doubles
    error: Doubles
    distance: Doubles


@dataclass(frozen=True, slots=True)
class RouterModel:
    """A trained model and its manifest. `known` are the sorted fingerprints of all training prompts, uint64."""

    manifest: Manifest
    axes: Axes
    heads: Mapping[str, Head]
    examples: Examples
    reference: Reference
    known: NDArray[np.uint64]
    grove: Grove = field(init=False)

    def __post_init__(self) -> None:
        halves = [half for name in ("gain", "small") for half in self.heads[name].halves]
        object.__setattr__(self, "grove", Grove(halves))

    def score(self, prompts: Prompts, policy: PolicyName = "learned") -> Scores:
        """The scores of these prompts; they must come from the embedder that the manifest names."""
        if policy == "knn":
            votes = self.examples.votes(prompts.sentence)
            return _scores(votes.gain, votes.small, error=votes.error, distance=votes.distance)
        standard = self.axes.standard(prompts.depths)
        rows = columns(prompts.surface, self.axes.along(standard))
        linear = self.axes.linear(standard, prompts.surface)
        said = self.grove.predict(rows)
        gain, error = self.heads["gain"].answers(linear, said[:, :2])
        small, _ = self.heads["small"].answers(linear, said[:, 2:])
        return _scores(gain, small, error=error, distance=self.examples.distance(prompts.sentence))

    def nearest(self, sentence: Floats, count: int = 5) -> tuple[Neighbour, ...]:
        """The labelled prompts nearest to one sentence vector `[d]`, best first."""
        return self.examples.nearest(sentence, count=count)

    def distance(self, sentence: Floats) -> Doubles:
        """1 − cosine to the nearest example, `[n]`, for sentence vectors `[n, d]`; compare `manifest.farthest`."""
        return self.examples.distance(sentence)

    def trained_on(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Which of these prompts the model was trained on, `[n]`."""
        return np.isin(fingerprints(texts), self.known)

    def threshold_for(self, share: float, policy: PolicyName = "learned") -> float:
        """The threshold from which on this share (0…1) of prompts like the training ones goes to the large tier.

        0 and 1 are always-small and always-large. Between them equal gains may bring another share (`share_at`): of the
        two thresholds around them the one whose share is nearer.
        """
        if share <= 0 or share >= 1:
            return ALWAYS_SMALL if share <= 0 else ALWAYS_LARGE
        found = float(np.quantile(np.array(self.manifest.quantiles[policy]), 1.0 - share))
        above = float(np.nextafter(found, np.inf))
        off, beyond = (abs(self.share_at(threshold, policy) - share) for threshold in (found, above))
        return found if off <= beyond + GRID else above

    def share_at(self, threshold: float, policy: PolicyName = "learned") -> float:
        """The share (0…1) of training prompts, held out in turn, whose gain was at or above the threshold.

        It is read between the quantiles that the manifest keeps, so it is right to a hundredth.
        """
        found = np.array(self.manifest.quantiles[policy])
        if threshold <= found[0] or threshold > found[-1]:
            return float(threshold <= found[0])
        after = int(np.searchsorted(found, threshold, side="left"))
        before = found[after - 1]
        part = (threshold - before) / (found[after] - before)
        return float(1.0 - (after - 1 + part) / (len(found) - 1))

    def write(self, folder: Path) -> Manifest:
        """Write both files, the manifest last, and return it. A model that is there stays whole until both are written.

        Equal weights are not written again, so that a new threshold replaces one file.
        """
        weights = save(self._arrays())
        manifest = self.manifest.model_copy(update={"weights_digest": hashlib.sha256(weights).hexdigest()})
        write_together(folder, {WEIGHTS: weights, MANIFEST: manifest.model_dump_json(indent=1).encode() + b"\n"})
        return manifest

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {"known": self.known, **self.axes.arrays(), **self.examples.arrays(), **self.reference.arrays()}
        for name, head in self.heads.items():
            arrays |= head.arrays(name)
        return arrays


def read_model(folder: Path) -> RouterModel:
    """The model of a folder; raises `ConfigurationError` that names what is wrong with it."""
    try:
        content = (folder / MANIFEST).read_bytes()
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{str(folder)!r} holds no router model.", detail=str(error)) from error
    manifest = read_manifest(content, where=repr(str(folder)))
    if hashlib.sha256(weights).hexdigest() != manifest.weights_digest:
        raise ConfigurationError(f"The weights in {str(folder)!r} are not those that the manifest names.")
    try:
        return _model(manifest, load(weights))
    except (SafetensorError, KeyError, ValueError) as error:
        raise ConfigurationError(f"The weights in {str(folder)!r} cannot be used.", detail=str(error)) from error


def _model(manifest: Manifest, arrays: Mapping[str, NDArray[Any]]) -> RouterModel:
    if not all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f"):
        raise ValueError("some weights are no numbers")
    known = arrays["known"]
    if known.dtype != np.uint64 or known.ndim != 1:
        raise ValueError("the fingerprints of the training prompts are none")
    axes = Axes.of(arrays, depths=len(manifest.depths))
    width = axes.mean.shape[1]
    return RouterModel(
        manifest=manifest,
        axes=axes,
        heads={name: Head.of(arrays, name, axes=axes) for name in HEADS},
        examples=Examples.of(arrays, width=width),
        reference=Reference.of(arrays, policies=POLICIES, width=width),
        known=known,
    )


def _scores(gain: Doubles, small: Doubles, *, error: Doubles, distance: Doubles) -> Scores:
    within = np.clip(small, 0.0, 1.0)
    bounded = np.clip(gain, -1.0, 1.0)
    return Scores(within, np.clip(within + bounded, 0.0, 1.0), bounded, error, distance)

"""The router's side output: which task a prompt asks for, and whether its answer needs retrieval.

A linear reading of the embedder's sentence vector and of the cues in `cues.py`. Serving needs numpy alone; how it is
trained is `router/training/task_fit.py`. Decides nothing: the parts that retrieve, route and record use what it says.

Kept as `weights.safetensors` and `manifest.json`: numbers and names, nothing that runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.errors import ConfigurationError
from models.problems import first_problem
from router.files import write_together
from router.tasks.cues import NAMES, VERSION, rows
from router.tasks.manifest import FORMAT, Manifest, Measured

__all__ = ["LEARNED", "LONG", "TASKS", "Manifest", "Measured", "TaskGuess", "TaskHead", "probabilities", "shipped"]

LEARNED = ("simple", "code", "reasoning", "extraction", "writing")
LONG_DOCUMENT = "long-document"
TASKS = (*LEARNED, LONG_DOCUMENT)
LONG = 6000
"""Characters, about 1,500 tokens, from which on a prompt is a long document, whatever is asked about it."""
FAR = np.float32(4)
"""Deviations at which a cue is cut: a length that training never saw must not carry a prompt away."""
DIGITS = 4
"""Of a probability: the last bits depend on who else is in the batch, and equal prompts must be equal."""

WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
PARTS = ("mean", "scale", "weights", "bias")
SHIPPED = Path(__file__).parent / "shipped"
RETRAIN = "Train it again: `penstock router train-tasks`."

Floats = NDArray[np.float32]


class TaskGuess(NamedTuple):
    """What a prompt seems to ask for, one of `TASKS`, how likely that is, and how likely it needs retrieval; 0…1."""

    task: str
    task_probability: float
    retrieval: float


@dataclass(frozen=True, slots=True, eq=False)
class TaskHead:
    """The weights and their manifest, for d dimensions, c named cues, w words and t tasks.

    `mean`, `scale` `[c]` bring the cues on the scale of the training prompts; `weights` `[d + c + w, t + 1]` and `bias`
    `[t + 1]` give a column of logits per task and, last, that of retrieval.
    """

    manifest: Manifest
    mean: Floats
    scale: Floats
    weights: Floats
    bias: Floats
    places: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {word: at for at, word in enumerate(self.manifest.words)})

    @classmethod
    def read(cls, folder: Path) -> TaskHead:
        """The head of a folder; raises `ConfigurationError` that names what is wrong with it."""
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
            weights = (folder / WEIGHTS).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{str(folder)!r} holds no task head. {RETRAIN}", detail=str(error)) from error
        except ValidationError as error:
            raise ConfigurationError(
                f"The manifest of the task head in {str(folder)!r} cannot be read: {first_problem(error)}. {RETRAIN}"
            ) from error
        _check(manifest)
        if hashlib.sha256(weights).hexdigest() != manifest.weights_digest:
            raise ConfigurationError(f"The weights in {str(folder)!r} are not those that the manifest names. {RETRAIN}")
        try:
            arrays = load(weights)
            head = cls(manifest, **{part: arrays[part] for part in PARTS})
            head._check_shapes()
        except (SafetensorError, KeyError, ValueError) as error:
            raise ConfigurationError(
                f"The weights of the task head in {str(folder)!r} cannot be used. {RETRAIN}", detail=str(error)
            ) from error
        return head

    @property
    def dimensions(self) -> int:
        """d of the sentence vectors that it reads."""
        return len(self.weights) - len(NAMES) - len(self.manifest.words)

    def require(self, embedder: str) -> None:
        """Raise `ConfigurationError` unless this is the id of the embedder that the head was trained with."""
        if embedder != self.manifest.embedder:
            raise ConfigurationError(
                f"The task head was trained with embedder {self.manifest.embedder!r}; here it is {embedder!r}."
                f" {RETRAIN}"
            )

    def classify(self, texts: Sequence[str], sentence: Floats) -> tuple[TaskGuess, ...]:
        """A guess per prompt. `sentence` `[len(texts), d]` are its vectors, of the embedder that `require` accepts.

        Raises `ValueError` for vectors of another shape.
        """
        tasks, retrieval = probabilities(self.logits(texts, sentence))
        best = tasks.argmax(axis=1)
        return tuple(
            TaskGuess(LONG_DOCUMENT, 1.0, float(retrieval[at]))
            if len(text) >= LONG
            else TaskGuess(self.manifest.tasks[best[at]], float(tasks[at, best[at]]), float(retrieval[at]))
            for at, text in enumerate(texts)
        )

    def logits(self, texts: Sequence[str], sentence: Floats) -> NDArray[np.float64]:
        """Of each task and, last, of retrieval: `[len(texts), t + 1]`; `sentence` as for `classify`."""
        if sentence.shape != (len(texts), self.dimensions):
            raise ValueError(f"{len(texts)} texts need vectors of {self.dimensions} dimensions, not {sentence.shape}")
        seen = rows(texts, self.places)
        named = np.clip((seen[:, : len(NAMES)] - self.mean) / self.scale, -FAR, FAR)
        inputs = np.concatenate([sentence, named, seen[:, len(NAMES) :]], axis=1)
        found: NDArray[np.float64] = (inputs @ self.weights + self.bias).astype(np.float64)
        return found

    def write(self, folder: Path) -> Manifest:
        """Write both files, the manifest last, and return it. What is there stays whole until both are written."""
        weights = save({part: np.ascontiguousarray(getattr(self, part)) for part in PARTS})
        manifest = self.manifest.model_copy(update={"weights_digest": hashlib.sha256(weights).hexdigest()})
        write_together(folder, {WEIGHTS: weights, MANIFEST: manifest.model_dump_json(indent=1).encode() + b"\n"})
        return manifest

    def _check_shapes(self) -> None:
        arrays: dict[str, NDArray[Any]] = {part: getattr(self, part) for part in PARTS}
        columns = len(self.manifest.tasks) + 1
        if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("some weights are no numbers")
        if self.mean.shape != (len(NAMES),) or self.scale.shape != (len(NAMES),) or not (self.scale > 0).all():
            raise ValueError("the scales do not fit the cues")
        if self.weights.ndim != 2 or self.weights.shape[1] != columns or self.bias.shape != (columns,):
            raise ValueError("the weights do not fit the tasks")
        if self.dimensions < 1:
            raise ValueError("there are fewer weights than cues and words")


def shipped() -> TaskHead:
    """The head that comes with Penstock, for the sentence embedder that comes with it."""
    return TaskHead.read(SHIPPED)


def probabilities(logits: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What logits `[n, t + 1]` say: of the tasks `[n, t]`, one of which it is, and of retrieval `[n]`."""
    powers = np.exp(logits[:, :-1] - logits[:, :-1].max(axis=1, keepdims=True))
    tasks = powers / powers.sum(axis=1, keepdims=True)
    return np.round(tasks, DIGITS), np.round(1 / (1 + np.exp(-logits[:, -1])), DIGITS)


def _check(manifest: Manifest) -> None:
    if manifest.format != FORMAT:
        raise ConfigurationError(f"The task head has format {manifest.format}; this version reads {FORMAT}. {RETRAIN}")
    if manifest.cues_version != VERSION:
        raise ConfigurationError(
            f"The task head was trained on cues of version {manifest.cues_version}; here it is {VERSION}. {RETRAIN}"
        )
    if strange := set(manifest.tasks) - set(LEARNED):
        raise ConfigurationError(f"The task head knows a task {min(strange)!r} that this version has not. {RETRAIN}")

"""The labelled prompts that a router model keeps: what is near to a prompt, how far it is, what its neighbours say.

Owns the search and the vote of the neighbours. Their texts are cut and their vectors rounded to sixteen bits; which
prompts a model was trained on is kept beside them as short digests, so that it is not judged on those.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router.heads import DIGITS

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

MOST = 4096
"""Examples that are kept: one prompt is compared with all of them in a fraction of a millisecond."""
CHARACTERS = 200
"""Of a text that is kept: to be recognised by a person."""
NEIGHBOURS = 50
STEEPNESS = 10.0
"""A neighbour counts exp(10 · cosine)."""
BLOCK = 256
"""Prompts that are compared at once."""
ARRAYS = ("vectors", "small", "large", "text", "ends")


class Neighbour(NamedTuple):
    """A labelled prompt: its text (cut), its cosine to what was asked, and how good either tier's answer was (0…1)."""

    text: str
    similarity: float
    small: float
    large: float


class Votes(NamedTuple):
    """What the neighbours say of prompts, each `[n]`: `gain` (−1…1) and `small` (0…1) are weighted means.

    `error` is the standard error of the mean gain, `distance` 1 − cosine to the nearest neighbour.
    """

    gain: Doubles
    small: Doubles
    error: Doubles
    distance: Doubles


@dataclass(frozen=True, slots=True)
class Examples:
    """`m` labelled prompts: `vectors` (float16 `[m, d]`, unit length), `small`, `large` (float32 `[m]`), `texts`."""

    vectors: NDArray[np.float16]
    small: Floats
    large: Floats
    texts: tuple[str, ...]
    _unit: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        wide = self.vectors.astype(np.float32)
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        object.__setattr__(self, "_unit", wide / np.maximum(lengths, np.float32(1e-6)))

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def sample(cls, sentence: Floats, *, small: Doubles, large: Doubles, texts: Sequence[str], seed: int) -> Examples:
        """At most `MOST` of these prompts (`sentence` `[n, d]`, labels `[n]`), by chance, in their order."""
        count = len(texts)
        rows = np.arange(count)
        if count > MOST:
            rows = np.sort(np.random.default_rng(seed).choice(count, MOST, replace=False))
        return cls(
            vectors=sentence[rows].astype(np.float16),
            small=small[rows].astype(np.float32),
            large=large[rows].astype(np.float32),
            texts=tuple(texts[int(row)][:CHARACTERS] for row in rows),
        )

    def nearest(self, sentence: Floats, *, count: int) -> tuple[Neighbour, ...]:
        """The `count` nearest to one vector `[d]`, best first; fewer where there are fewer."""
        near = self._unit @ sentence
        rows = np.argsort(-near, kind="stable")[:count]
        return tuple(
            Neighbour(self.texts[row], float(near[row]), float(self.small[row]), float(self.large[row])) for row in rows
        )

    def distance(self, sentence: Floats) -> Doubles:
        """1 − cosine to the nearest example, `[n]`, for vectors `[n, d]`."""
        found = np.empty(len(sentence))
        for start in range(0, len(sentence), BLOCK):
            block = slice(start, start + BLOCK)
            found[block] = _far(self._near(sentence[block]))
        return found

    def apart(self) -> Doubles:
        """How far each example is from the nearest other one, `[m]`; 0 for a single one."""
        found = np.zeros(len(self))
        for start in range(0, len(self) if len(self) > 1 else 0, BLOCK):
            near = self._near(self._unit[start : start + BLOCK])
            near[np.arange(len(near)), np.arange(start, start + len(near))] = -1
            found[start : start + BLOCK] = _far(near)
        return found

    def votes(self, sentence: Floats) -> Votes:
        """What the nearest examples say of the prompts with these vectors `[n, d]`.

        The 50 nearest count, the nearer the more, and all that are as near as the fiftieth: the order of the training
        prompts says nothing.
        """
        parts = [self._votes(sentence[start : start + BLOCK]) for start in range(0, len(sentence), BLOCK)]
        return Votes(*(np.concatenate([part[at] for part in parts]) for at in range(4))) if parts else _nobody()

    def _votes(self, sentence: Floats) -> Votes:
        near = self._near(sentence)
        count = min(NEIGHBOURS, len(self))
        last = np.partition(near, len(self) - count, axis=1)[:, -count, None]
        rows, columns = np.nonzero(near >= last - np.float32(10.0**-DIGITS))
        starts = np.searchsorted(rows, np.arange(len(sentence)))
        weights = np.exp(STEEPNESS * near[rows, columns].astype(np.float64))
        small, large = self.small[columns].astype(np.float64), self.large[columns].astype(np.float64)
        total = np.add.reduceat(weights, starts)
        gain = np.add.reduceat(weights * (large - small), starts) / total
        spread = np.add.reduceat((weights * (large - small - gain[rows])) ** 2, starts)
        quality = np.add.reduceat(weights * small, starts) / total
        error = np.sqrt(spread) / total
        return Votes(np.round(gain, DIGITS), np.round(quality, DIGITS), np.round(error, DIGITS), _far(near))

    def _near(self, sentence: Floats) -> Floats:
        """The cosines `[n, m]`. One prompt is a product of a matrix and a vector: half the time."""
        found: Floats = (self._unit @ sentence[0])[None] if len(sentence) == 1 else sentence @ self._unit.T
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The examples as named arrays, for a file: texts are one run of UTF-8 with the ends of each."""
        encoded = [text.encode(errors="replace") for text in self.texts]
        text = np.frombuffer(b"".join(encoded), np.uint8)
        ends = np.cumsum([len(one) for one in encoded], dtype=np.int64)
        found: tuple[NDArray[Any], ...] = (self.vectors, self.small, self.large, text, ends)
        return {f"examples.{part}": array for part, array in zip(ARRAYS, found, strict=True)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], *, width: int) -> Examples:
        """What `arrays` wrote, for vectors of this width. Raises `KeyError` for a missing part, `ValueError` for a
        wrong one."""
        vectors, small, large, text, ends = (arrays[f"examples.{part}"] for part in ARRAYS)
        count = len(ends)
        if count < 1 or vectors.shape != (count, width) or small.shape != (count,) or large.shape != (count,):
            raise ValueError("the examples have arrays of different lengths")
        if any(part.min() < 0 or part.max() > 1 for part in (small, large)):
            raise ValueError("the examples have qualities outside 0 and 1")
        bounds = np.concatenate(([0], ends))
        if (np.diff(bounds) < 0).any() or bounds[-1] != text.size or text.dtype != np.uint8:
            raise ValueError("the texts of the examples have no place")
        whole = text.tobytes()
        texts = tuple(whole[start:end].decode() for start, end in pairwise(bounds))
        return cls(vectors, small, large, texts)


def fingerprints(texts: Sequence[str]) -> NDArray[np.uint64]:
    """Eight bytes of each text's SHA-256, `[n]`; spaces and line ends between words make no difference."""
    digests = (hashlib.sha256(" ".join(text.split()).encode(errors="surrogatepass")).digest()[:8] for text in texts)
    return np.frombuffer(b"".join(digests), "<u8")


def _far(near: Floats) -> Doubles:
    """1 − the best cosine of each row, at least 0."""
    found: Doubles = np.round(np.maximum(0.0, 1.0 - near.max(axis=1).astype(np.float64)), DIGITS)
    return found


def _nobody() -> Votes:
    return Votes(*(np.empty(0) for _ in range(4)))

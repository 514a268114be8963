"""Embedder `hashing`: words and pairs of words, hashed into a few dimensions. No model, for tests.

Texts that share words are near, and nothing else is: it knows no meaning. Every depth is a hashing of its own, so that
code which mixes up two depths is found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from models.config import PluginSettings
from models.embedders import Embeddings, Floats, Heard
from models.embedders.text import readable

if TYPE_CHECKING:
    from models.catalog.pull import Puller

WORD = re.compile(r"\w+")


class HashingSettings(PluginSettings):
    """How wide and how often."""

    kind: Literal["hashing"] = Field("hashing", description="Hashed words, without a model: for tests.")
    dimensions: int = Field(64, ge=2, le=4096, description="Length of a vector.")
    depths: tuple[int, ...] = Field((1, 3, 6), min_length=1, description="Numbers that stand for layers.")
    max_tokens: int = Field(256, ge=1, description="Words that are read.")


class HashingEmbedder:
    """Counts hashed words."""

    def __init__(self, settings: HashingSettings) -> None:
        self.dimensions = settings.dimensions
        self.depths = settings.depths
        self.max_tokens = settings.max_tokens
        self.id = f"hashing-{self.dimensions}@{blake2b(WORD.pattern.encode(), digest_size=4).hexdigest()}"

    def embed(self, texts: Sequence[str], *, heard: Heard | None = None) -> Embeddings:
        """The vectors of these texts; a text without words gets the first axis."""
        sentence = np.zeros((len(texts), self.dimensions), np.float32)
        depths = np.zeros((len(texts), len(self.depths), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            words = WORD.findall(readable(text).lower())[: self.max_tokens]
            found = [*words, *(f"{first} {second}" for first, second in pairwise(words))]
            sentence[row] = _unit(self._mean(found, "sentence"))
            for column, depth in enumerate(self.depths):
                depths[row, column] = self._mean(found, str(depth))
            if heard is not None:
                heard(row + 1)
        return Embeddings(sentence, depths)

    def _mean(self, found: Sequence[str], hashing: str) -> Floats:
        """[d]: each word adds or takes one at its place; zeros without words."""
        total = np.zeros(self.dimensions, np.float32)
        for word in found:
            number = int.from_bytes(blake2b(f"{hashing} {word}".encode(), digest_size=8).digest(), "little")
            total[(number >> 1) % self.dimensions] += 1 if number & 1 else -1
        total /= max(1, len(found))
        return total


def _unit(vector: Floats) -> Floats:
    length = np.linalg.norm(vector)
    unit: Floats = vector / length if length else np.eye(1, len(vector), dtype=np.float32)[0]
    return unit


Settings = HashingSettings


def build(settings: HashingSettings, puller: Puller | None = None) -> HashingEmbedder:  # noqa: ARG001
    """The embedder of these settings; there is no model to fetch."""
    return HashingEmbedder(settings)

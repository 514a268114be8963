"""The family of embedders: the contract, the table of kinds, and how settings become an embedder.

A new embedder is one file here (`Settings` with its own `kind`, `build(settings, puller)`) and one row in `EMBEDDERS`.
Owns no model, and no opinion on what the vectors are for: the learned router, the semantic cache and retrieval share
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, SerializeAsAny

from models.config import PluginSettings
from models.plugins import Registry

if TYPE_CHECKING:
    from models.catalog.pull import Puller

__all__ = [
    "EMBEDDERS",
    "Embedder",
    "EmbedderSettings",
    "Embeddings",
    "Floats",
    "Heard",
    "Identity",
    "build_embedder",
    "identity_of",
]

EMBEDDERS = Registry(
    "embedder",
    {
        "sentence": "models.embedders.sentence",
        "hashing": "models.embedders.hashing",
    },
)

EmbedderSettings = Annotated[SerializeAsAny[PluginSettings], BeforeValidator(EMBEDDERS.read)]

Floats = npt.NDArray[np.float32]
Heard = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The vectors of n texts, in their order: d dimensions, k depths, float32.

    A learned router does better on middle layers than on the last one, and they fall out of the same forward pass.
    """

    sentence: Floats
    """[n, d], of unit length: a dot product is the cosine."""
    depths: Floats
    """[n, k, d], not normalised: the mean over a text's tokens of the hidden state after each of `Embedder.depths`."""


class Embedder(Protocol):
    """Turns texts into vectors. The same id, depths and max_tokens give the same vectors, in every process.

    `embed` blocks and may be called from several threads at once.
    """

    @property
    def id(self) -> str:
        """Name, `@` and 8 digits of the SHA-256 of all that makes the vectors: weights, tokenizer, configuration.

        What was learned on one id is used with it only.
        """
        ...

    @property
    def dimensions(self) -> int:
        """d."""
        ...

    @property
    def depths(self) -> tuple[int, ...]:
        """The layer behind each of the k depths: 0 is before the first layer."""
        ...

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that are read, the model's own marks included; what follows them is not."""
        ...

    def embed(self, texts: Sequence[str], *, heard: Heard | None = None) -> Embeddings:
        """The vectors of these texts. Raises on no text whatever; a very long one is cut (`text.readable`).

        `heard` gets the number of texts that are done, now and then, up to all of them.
        """
        ...


class Identity(NamedTuple):
    """What an embedder is, without the embedder: two of the same identity give the same vectors."""

    id: str
    depths: tuple[int, ...]
    max_tokens: int


def identity_of(settings: PluginSettings, *, puller: Puller | None = None) -> Identity:
    """What `build_embedder` would give, and `ConfigurationError` where its model is not there.

    A kind that takes long to load has an `identity(settings, puller)` beside its `build`.
    """
    module = EMBEDDERS.module(settings.kind)
    if hasattr(module, "identity"):
        return cast(Identity, module.identity(settings, puller))
    made = build_embedder(settings, puller=puller)
    return Identity(made.id, made.depths, made.max_tokens)


def build_embedder(settings: PluginSettings, *, puller: Puller | None = None) -> Embedder:
    """The embedder that these settings describe. `ConfigurationError` when its model cannot be loaded here.

    `puller` fetches a model that the settings name by its place on a hub; without one such a model is refused.
    """
    return cast(Embedder, EMBEDDERS.module(settings.kind).build(settings, puller))

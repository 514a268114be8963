"""Edge file: a folder in an object store, by obstore. Streams, resumes by range, and checks the card's digest."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import obstore
from obstore.exceptions import BaseError

from models.catalog.schema import S3Source
from models.catalog.sources import Access, Advance, RemoteFile, wanted
from models.digests import file_sha256, listing_sha256
from models.errors import ConfigurationError
from models.object_store import open_folder

PART = ".part"


def build(source: S3Source, access: Access) -> S3Fetcher:
    """The fetcher of one folder."""
    return S3Fetcher(source, access)


def folder_digest(folder: Path, names: list[str]) -> str:
    """What a card's `digest` is: `sha256:` and the SHA-256 of the lines `sha256sum` prints, sorted by name."""
    return f"sha256:{listing_sha256({name: file_sha256(folder / name) for name in names})}"


class S3Fetcher:
    """One folder of one bucket."""

    def __init__(self, source: S3Source, access: Access) -> None:
        self._source = source
        self._store = open_folder(source.url, access.s3_endpoint)

    def listing(self, folder: Path) -> tuple[RemoteFile, ...]:
        """The wanted objects under the prefix."""
        try:
            objects = [entry for page in obstore.list(self._store) for entry in page]
        except BaseError as error:
            raise self._failure(error) from error
        files = [RemoteFile(o["path"], o["size"], o["size"]) for o in objects if wanted(o["path"])]
        return tuple(RemoteFile(f.name, f.size, f.size - _bytes_here(folder, f)) for f in files)

    def fetch(self, files: tuple[RemoteFile, ...], folder: Path, *, advance: Advance) -> None:
        """Download what is missing, then hold the whole folder against the digest."""
        for file in files:
            if not _is_complete(folder, file):
                self._one(file, folder, advance=advance)
        if folder_digest(folder, [file.name for file in files]) != self._source.digest:
            for file in files:
                (folder / file.name).unlink()
            raise ConfigurationError(f"{self._source.url!r} does not have the digest of its card. Nothing was kept.")

    def _one(self, file: RemoteFile, folder: Path, *, advance: Advance) -> None:
        target = folder / file.name
        part = target.with_name(target.name + PART)
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("ab") as out:
                while out.tell() < file.size:
                    self._stream(file, out, advance=advance)
        except BaseError as error:
            raise self._failure(error) from error
        part.replace(target)

    def _stream(self, file: RemoteFile, out: BinaryIO, *, advance: Advance) -> None:
        reply = obstore.get(self._store, file.name, options={"range": {"offset": out.tell()}})
        for chunk in reply.stream():
            advance(out.write(bytes(chunk)))

    def _failure(self, error: BaseError) -> ConfigurationError:
        return ConfigurationError(
            f"The object store did not deliver {self._source.url!r}. Pull again to resume.", detail=type(error).__name__
        )


def _is_complete(folder: Path, file: RemoteFile) -> bool:
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size


def _bytes_here(folder: Path, file: RemoteFile) -> int:
    if _is_complete(folder, file):
        return file.size
    part = folder / f"{file.name}{PART}"
    return min(part.stat().st_size, file.size) if part.is_file() else 0

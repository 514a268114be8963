"""What may be in a version: a few flat files of data, whole and of known digest. Nothing that runs when it is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from models.artifacts.artifact import Artifact, ArtifactFile
from models.catalog.store import is_whole
from models.digests import file_sha256
from models.errors import ConfigurationError

SUFFIXES = (".safetensors", ".json", ".jsonl", ".md", ".txt")
BLOCK_BYTES = 2**20


def contents(folder: Path, *, max_bytes: int) -> dict[str, ArtifactFile]:
    """The files of a folder, name → size and digest. `ConfigurationError` names what may not be published."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        for entry in entries:
            _require_data(entry)
        sizes = {entry.name: entry.stat().st_size for entry in entries}
        if (total := sum(sizes.values())) > max_bytes:
            raise ConfigurationError(
                f"{str(folder)!r} holds {total:,} bytes. `artifacts.max_bytes` admits {max_bytes:,}."
            )
        return {name: ArtifactFile(size=size, sha256=file_sha256(folder / name)) for name, size in sizes.items()}
    except OSError as error:
        raise ConfigurationError(
            f"{str(folder)!r} cannot be read: {error.strerror}. Name a folder of files."
        ) from error


def holds(folder: Path, artifact: Artifact) -> bool:
    """Whether this folder has exactly the artifact's files, each with its digest."""
    try:
        found = {entry.name: entry.is_file(follow_symlinks=False) for entry in os.scandir(folder)}
        return found == dict.fromkeys(artifact.files, True) and all(
            (folder / name).stat().st_size == file.size and file_sha256(folder / name) == file.sha256
            for name, file in artifact.files.items()
        )
    except OSError:
        return False


def file_blocks(path: Path) -> Iterator[bytes]:
    """A file, block by block."""
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def verified(found: Iterable[bytes], file: ArtifactFile, *, problem: str) -> Iterator[bytes]:
    """Pass the blocks on; `ConfigurationError(problem)` as soon as they are too many, or at the end not these."""
    digest, size = sha256(), 0
    for block in found:
        digest.update(block)
        size += len(block)
        if size > file.size:
            raise ConfigurationError(problem)
        yield block
    if digest.hexdigest() != file.sha256:
        raise ConfigurationError(problem)


def source_blocks(folder: Path, name: str, *, file: ArtifactFile) -> Iterator[bytes]:
    """A file on its way into a store; `ConfigurationError` when it is no longer what `contents` saw."""
    changed = f"{str(folder / name)!r} changed while it was published. Publish the folder again."
    try:
        yield from verified(file_blocks(folder / name), file, problem=changed)
    except OSError as error:
        raise ConfigurationError(changed, detail=str(error)) from error


def _require_data(entry: os.DirEntry[str]) -> None:
    if not entry.is_file(follow_symlinks=False):
        raise ConfigurationError(f"{entry.path!r} is a link, a folder or a device. Only plain files are published.")
    if not entry.name.endswith(SUFFIXES):
        raise ConfigurationError(f"{entry.path!r} cannot be published. Files may end in {', '.join(SUFFIXES)}.")
    if entry.name.endswith(".safetensors") and not is_whole(Path(entry.path)):
        raise ConfigurationError(f"{entry.path!r} is not a whole safetensors file. Make it again.")

"""Folders to publish, and one place for what the suites need of a store."""

from __future__ import annotations

from pathlib import Path

from models.artifacts.artifact import Artifact
from models.artifacts.store import ArtifactStore
from tests.models.catalog.origins import safetensors

FILES = {
    "weights.safetensors": safetensors(bytes(range(256)) * 5_000),
    "manifest.json": b'{"format": 1}\n',
    "README.md": b"What it is.\n",
}


def made(folder: Path, **changes: bytes) -> Path:
    """A folder with a few files; a keyword is a file of that name with `_` for `.`."""
    folder.mkdir(exist_ok=True)
    for name, body in {**FILES, **{key.replace("_", "."): body for key, body in changes.items()}}.items():
        (folder / name).write_bytes(body)
    return folder


def published(store: ArtifactStore, folder: Path, *, name: str = "default") -> Artifact:
    """The folder as a version of a router."""
    return store.publish(folder, kind="router", name=name, about={"small": "7b", "large": "70b"})


def files_in(folder: Path) -> dict[str, bytes]:
    """Name → content of everything in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}

"""A job's files, from the artifact store onto the machine that trains. Blocks. Owns what files are called in the store;
does not know what is in them.
"""

from __future__ import annotations

from pathlib import Path

from models.artifacts.artifact import Artifact, ArtifactKind
from models.artifacts.store import ArtifactStore

KIND: ArtifactKind = "file"
DATA = "data.jsonl"
"""The one file in the artifact."""


def stored_file(artifacts: ArtifactStore, file: str) -> Artifact | None:
    """The newest version of a file; None when it is gone. Raises `ConfigurationError` when the store is away."""
    found = artifacts.versions(KIND, file)
    return found[0] if found else None


def input_file(artifacts: ArtifactStore, file: str, *, to: Path) -> Path | None:
    """Its lines, under this folder; None when it is gone."""
    artifact = stored_file(artifacts, file)
    return None if artifact is None else artifacts.fetch(artifact, to=to) / DATA


def digest_of(artifacts: ArtifactStore, file: str) -> str | None:
    """SHA-256 of its lines."""
    artifact = stored_file(artifacts, file)
    return None if artifact is None else artifact.files[DATA].sha256

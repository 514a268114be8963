"""An adapter's files on this machine: fetched from the artifact store once per node, and looked for before a call."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from models.adapters.names import AdapterRef
from models.artifacts.artifact import ArtifactKind
from models.artifacts.store import ArtifactStore

KIND: ArtifactKind = "adapter"
NEEDED = ("adapter_config.json", "adapter_model.safetensors")  # what an engine reads


class Files(Protocol):
    """Where versions come from."""

    async def fetch(self, ref: AdapterRef) -> Path:
        """A folder with exactly this version's files; always the same one. Raises `PenstockError`."""
        ...

    def there(self, folder: Path) -> bool:
        """Whether such a folder still has what an engine reads. Cheap enough to ask at every call."""
        ...


class StoredFiles:
    """Versions of an artifact store. `cache` is a folder that the replicas of a machine share."""

    def __init__(self, artifacts: ArtifactStore, cache: Path) -> None:
        self._artifacts = artifacts
        self._cache = cache

    async def fetch(self, ref: AdapterRef) -> Path:
        """Its folder in the cache, each file of its digest. Raises `ConfigurationError`."""
        return await asyncio.to_thread(self._fetch, ref)

    def there(self, folder: Path) -> bool:
        """Two looks at the disk, some microseconds; that the bytes are right was seen when they were fetched."""
        return all((folder / name).exists() for name in NEEDED)

    def _fetch(self, ref: AdapterRef) -> Path:
        artifact = self._artifacts.find(KIND, ref.artifact, version=ref.digest)
        return self._artifacts.fetch(artifact, to=self._cache)

"""The family of artifact stores: the contract, the table of kinds, and how settings become one.

An artifact is a folder of a few files that the project itself makes, such as a router model, published under a name and
never changed: its version is the digest of what it holds. A new kind of store is one file here (`Settings` with its own
`kind`, `build(settings, home)`) that gives a `Shelf`, and one row in `ARTIFACT_STORES`. What a version is, what may be
in it and how it is checked are the same for every kind: `artifact`, `contents` and `store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Protocol

from pydantic import BeforeValidator, Field, SerializeAsAny

from models.config import PluginSettings
from models.plugins import Registry

__all__ = ["ARTIFACT_STORES", "ArtifactSettings", "ArtifactStoreSettings", "Shelf"]

ARTIFACT_STORES = Registry(
    "artifact store",
    {
        "folder": "models.artifacts.folder",
        "s3": "models.artifacts.s3",
    },
)


class ArtifactStoreSettings(PluginSettings):
    """What every kind has."""

    max_bytes: int = Field(
        2 * 2**30, gt=0, description="Most bytes of one version; more are neither published nor fetched."
    )

    @property
    def reaches_every_node(self) -> bool:
        """Whether each node of a cluster finds there what another one has published."""
        return True


ArtifactSettings = Annotated[SerializeAsAny[ArtifactStoreSettings], BeforeValidator(ARTIFACT_STORES.read)]


class Shelf(Protocol):
    """Where the bytes lie, under keys such as `router/default/0123456789ab/manifest.json`. Knows no artifact.

    May be used from several threads and processes at once. Raises `ConfigurationError`, which names the store and the
    next step, when the store cannot be reached or refuses.
    """

    def entries(self, folder: str) -> list[str]:
        """The names directly under `router/default`, of files and folders, in any order; none where nothing is."""
        ...

    def read(self, key: str) -> Iterator[bytes]:
        """The file in blocks. `FileNotFoundError`, by the first block at the latest, when there is none."""
        ...

    def write(self, key: str, blocks: Iterable[bytes], *, replace: bool) -> bool:
        """Write a file: a reader sees all of it or what was there before, also when `blocks` raises (passed on).

        Without `replace` a file that is there stays, and False is returned: of several writers the first one wins.
        """
        ...

    def remove(self, key: str) -> None:
        """Remove a file; one that is not there is no error. A folder that is empty then counts as not there."""
        ...

    def files(self, folder: str) -> dict[str, float]:
        """Every file under `router/default`, however deep: its key → when it was written, seconds since the epoch.

        Unfinished files that a killed writer left are among them, under names that begin with a dot.
        """
        ...

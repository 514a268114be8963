"""Artifact store `folder`: a folder of this machine, or one that several machines mount."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import Field, field_validator

from models.artifacts import ArtifactStoreSettings
from models.artifacts.contents import file_blocks
from models.errors import ConfigurationError
from models.privacy import new_private_file, private_folder

ATTEMPTS = 20


class FolderSettings(ArtifactStoreSettings):
    """A folder."""

    kind: Literal["folder"] = Field("folder", description="A local folder, or a mounted one.")
    path: Path | None = Field(None, description="The folder, absolute. Unset: `artifacts` in the state folder.")

    shared: bool = Field(
        False,
        description="Every node of the cluster mounts this folder, at the same path. A joined cluster whose policy has"
        " a classifier needs that, or another kind of store.",
    )

    @property
    def reaches_every_node(self) -> bool:
        """As its operator says."""
        return self.shared

    @field_validator("path")
    @classmethod
    def _path_is_absolute(cls, value: Path | None) -> Path | None:
        """A gateway works in another folder than the command that publishes."""
        if value is not None and not value.is_absolute():
            raise ValueError(f"{str(value)!r} is not an absolute path")
        return value


class FolderShelf:
    """Keys are paths under one folder; a file is written beside its place and then renamed.

    What it makes is for its owner alone: a model holds the beginnings of prompts.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def entries(self, folder: str) -> list[str]:
        """The names in a folder."""
        try:
            return [entry.name for entry in os.scandir(self._root / folder)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._failure(error) from error

    def read(self, key: str) -> Iterator[bytes]:
        """The file, block by block."""
        try:
            yield from file_blocks(self._root / key)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._failure(error) from error

    def write(self, key: str, blocks: Iterable[bytes], *, replace: bool) -> bool:
        """Beside its place, onto the disk, then into its place: by a rename, or by a link, which replaces nothing."""
        target = self._root / key
        draft = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with _beside(draft) as file:
                file.writelines(blocks)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target) if replace else target.hardlink_to(draft)
            _sync(target.parent)
        except FileExistsError:
            return False
        except OSError as error:
            raise self._failure(error) from error
        finally:
            draft.unlink(missing_ok=True)
        return True

    def remove(self, key: str) -> None:
        """The file, then its folder if nothing else is in it."""
        target = self._root / key
        try:
            target.unlink(missing_ok=True)
            _sync(target.parent)
        except NotADirectoryError:
            return
        except OSError as error:
            raise self._failure(error) from error
        with suppress(OSError):
            target.parent.rmdir()

    def files(self, folder: str) -> dict[str, float]:
        """A walk; what is removed meanwhile is not there. Links are not followed."""
        found = {}
        for place, _, names in os.walk(self._root / folder, onerror=self._pass_on):
            for path in (Path(place, name) for name in names):
                with suppress(FileNotFoundError):
                    found[path.relative_to(self._root).as_posix()] = path.stat(follow_symlinks=False).st_mtime
        return found

    def _pass_on(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"The artifact store {str(self._root)!r} cannot be used: {error.strerror}. `artifacts.path` names another.",
            detail=str(error),
        )


def _beside(draft: Path) -> BinaryIO:
    """A new file; its folder is made again when somebody removes it, empty, before the file is in it."""
    for _ in range(ATTEMPTS):
        with suppress(FileNotFoundError, FileExistsError):  # the latter from `mkdir`, of a folder that just went
            private_folder(draft.parent)
            return new_private_file(draft)
    private_folder(draft.parent)
    return new_private_file(draft)


def _sync(folder: Path) -> None:
    """What changed in a folder is on the disk when this returns; nothing did in one that is gone."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


Settings = FolderSettings


def build(settings: FolderSettings, home: Path) -> FolderShelf:
    """The shelf of these settings."""
    return FolderShelf(settings.path or home)

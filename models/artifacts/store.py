"""Publishes folders as versions, finds them again, and brings them onto this machine. The same for every kind of shelf.

A version is there when its index is: `router/default/0123456789ab.json`, written after the files, which lie under
`router/default/0123456789ab/`. Every byte that goes in or comes out is held against its digest.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from models.artifacts import ARTIFACT_STORES, ArtifactStoreSettings, Shelf
from models.artifacts.artifact import (
    VERSION_DIGITS,
    Artifact,
    ArtifactKind,
    described,
    digest_of,
    is_name,
    require_name,
)
from models.artifacts.contents import contents, holds, source_blocks, verified
from models.clock import Clock, SystemClock
from models.errors import ConfigurationError
from models.locks import alone
from models.privacy import new_private_file, private_folder
from models.problems import first_problem

INDEX = re.compile(rf"([0-9a-f]{{{VERSION_DIGITS}}})\.json")
STORED = re.compile(rf"[a-z]+/(?P<name>[^/]+)/(?P<version>[0-9a-f]{{{VERSION_DIGITS}}})(\.json|/.+)")
LONGEST_INDEX = 2**20


class IndexDamaged(ConfigurationError):
    """What lies where a version's index belongs is not it."""

    default_code = "artifact_damaged"


def open_artifacts(settings: ArtifactStoreSettings, *, home: Path, clock: Clock | None = None) -> ArtifactStore:
    """The store of these settings; `home` is its folder where they name no place. Nothing is asked or made yet."""
    shelf = cast(Shelf, ARTIFACT_STORES.module(settings.kind).build(settings, home))
    return ArtifactStore(shelf, max_bytes=settings.max_bytes, clock=clock or SystemClock())


class ArtifactStore:
    """Versions of artifacts on one shelf. Every call may raise `ConfigurationError`, and blocks."""

    def __init__(self, shelf: Shelf, *, max_bytes: int, clock: Clock) -> None:
        self._shelf = shelf
        self._max_bytes = max_bytes
        self._clock = clock

    def publish(self, folder: Path, *, kind: ArtifactKind, name: str, about: Mapping[str, str]) -> Artifact:
        """Make the files of a folder a version: all of it is there for others, or nothing.

        A version that is there already is returned as it was published first; its files are written again if they
        were damaged.
        """
        files = contents(folder, max_bytes=self._max_bytes)
        made = described(
            kind=kind, name=name, digest=digest_of(files), published_at=self._clock.now(), files=files, about=about
        )
        try:
            held = self._read(kind, name, version=made.version)
        except FileNotFoundError:
            return self._put(made, folder, replace=False)
        except IndexDamaged:
            return self._put(made, folder, replace=True)
        return held if self._is_sound(held) else self._put(held, folder, replace=True)

    def names(self, kind: ArtifactKind) -> list[str]:
        """Every name under which something of this kind is published, sorted."""
        return [name for name in sorted(self._shelf.entries(kind)) if is_name(name) and self._versions(kind, name)]

    def versions(self, kind: ArtifactKind, name: str) -> list[Artifact]:
        """Every version of a name, newest first; none where none is published."""
        found = [self._read(kind, name, version=version) for version in self._versions(kind, name)]
        return sorted(found, key=lambda artifact: (artifact.published_at, artifact.version), reverse=True)

    def find(self, kind: ArtifactKind, name: str, *, version: str) -> Artifact:
        """The version whose digest begins with these digits; refused when there is none, or more than one."""
        known = self._versions(kind, name)
        found = [candidate for candidate in known if version and candidate.startswith(version[:VERSION_DIGITS])]
        if len(found) == 1 and (artifact := self._read(kind, name, version=found[0])).digest.startswith(version):
            return artifact
        if len(found) > 1:
            raise ConfigurationError(
                f"Version {version!r} of {kind} {name!r} could be {' or '.join(sorted(found)[:4])}. Give more digits."
            )
        if not known:
            raise ConfigurationError(f"Nothing is published as {kind} {name!r} in this store. Publish it first.")
        some = ", ".join(artifact.version for artifact in self.versions(kind, name)[:4])
        raise ConfigurationError(f"No version of {kind} {name!r} begins with {version[:64]!r}. The newest: {some}.")

    def fetch(self, artifact: Artifact, *, to: Path) -> Path:
        """A folder under `to` with exactly these files, each of its digest. One that lies there already is only
        checked; a damaged one is fetched anew, and several processes that ask at once fetch once."""
        if artifact.size > self._max_bytes:
            raise ConfigurationError(
                f"{artifact}: {artifact.size:,} bytes are more than the {self._max_bytes:,} of `artifacts.max_bytes`."
            )
        folder = to / artifact.kind / artifact.name / artifact.version
        if holds(folder, artifact):
            return folder
        try:
            private_folder(folder.parent)
            with alone(folder.with_name(f".{folder.name}.lock")):
                if not holds(folder, artifact):
                    self._bring(artifact, folder)
        except OSError as error:
            raise ConfigurationError(
                f"{artifact} cannot be kept in {str(to)!r}: {error.strerror}.", detail=str(error)
            ) from error
        return folder

    def remove(self, artifact: Artifact) -> None:
        """Remove a version, there or not: its index first, so that nobody finds half of it. What was fetched stays."""
        self.discard(artifact.kind, artifact.name, version=artifact.version)

    def discard(self, kind: ArtifactKind, name: str, *, version: str) -> None:
        """As `remove`, of a version that need not be whole."""
        self._shelf.remove(_index(kind, name, version=version))
        for key in self._shelf.files(f"{_place(kind, name)}/{version}"):
            self._shelf.remove(key)

    def has(self, artifact: Artifact) -> bool:
        """Whether it is published, index and files, as it was: two looks, whatever its size. The bytes are not read."""
        try:
            held = self._read(artifact.kind, artifact.name, version=artifact.version)
        except (FileNotFoundError, IndexDamaged):
            return False
        place = f"{_place(artifact.kind, artifact.name)}/{artifact.version}"
        there = self._shelf.files(place).keys()
        return held.digest == artifact.digest and all(f"{place}/{name}" in there for name in held.files)

    def sweep(
        self, kind: ArtifactKind, keep: Collection[tuple[str, str]], *, older_than_s: float
    ) -> list[tuple[str, str]]:
        """Remove what nobody keeps, as `orphans` finds it; returns what was removed, sorted."""
        found = self.orphans(kind, keep, older_than_s=older_than_s)
        for name, version in found:
            self.discard(kind, name, version=version)
        return found

    def orphans(
        self, kind: ArtifactKind, keep: Collection[tuple[str, str]], *, older_than_s: float
    ) -> list[tuple[str, str]]:
        """What nobody keeps: every version of a kind, whole or not, that is not in `keep`, as (name, version), sorted.

        Spares what has a file younger than `older_than_s` seconds, which must be longer than a publication takes:
        its files come first, and whoever keeps it may not say so before it is whole. Old drafts of killed writers are
        removed.
        """
        before = self._clock.now() - older_than_s
        found: dict[tuple[str, str], float] = {}
        for key, written in self._shelf.files(kind).items():
            if key.rpartition("/")[2].startswith("."):
                if written < before:
                    self._shelf.remove(key)
            elif (version := STORED.fullmatch(key)) is not None:
                one = version["name"], version["version"]
                found[one] = max(written, found.get(one, 0.0))
        return sorted(one for one, newest in found.items() if one not in keep and newest < before)

    def _put(self, artifact: Artifact, folder: Path, *, replace: bool) -> Artifact:
        """Write the files, then the index; of several publishers the first one's index stays, unless it is replaced."""
        kind, name, version = artifact.kind, artifact.name, artifact.version
        for file, facts in artifact.files.items():
            blocks = source_blocks(folder, file, file=facts)
            self._shelf.write(f"{_place(kind, name)}/{version}/{file}", blocks, replace=True)
        index = artifact.model_dump_json(indent=1).encode() + b"\n"
        first = self._shelf.write(_index(kind, name, version=version), [index], replace=replace)
        return artifact if first else self._read(kind, name, version=version)

    def _bring(self, artifact: Artifact, folder: Path) -> None:
        """Fetch beside the folder, then take its place. What a killed fetch left behind goes first. Nothing is synced:
        whoever uses a folder has it checked, and what a power cut damaged is fetched again."""
        draft, old = (folder.with_name(f".{folder.name}.{part}") for part in ("part", "old"))
        for left in (draft, old):
            shutil.rmtree(left, ignore_errors=True)
        draft.mkdir(mode=0o700)
        try:
            for file in artifact.files:
                with new_private_file(draft / file) as out:
                    out.writelines(self._stored(artifact, file))
            if folder.exists():
                folder.replace(old)
            draft.replace(folder)
        finally:
            for left in (draft, old):
                shutil.rmtree(left, ignore_errors=True)

    def _stored(self, artifact: Artifact, file: str) -> Iterator[bytes]:
        """A file as it was published; `ConfigurationError`, at the end at the latest, when it is not."""
        damaged = f"{artifact}: {file!r} is damaged in the store. Publish the same files again."
        try:
            found = self._shelf.read(f"{_place(artifact.kind, artifact.name)}/{artifact.version}/{file}")
            yield from verified(found, artifact.files[file], problem=damaged)
        except FileNotFoundError:
            raise ConfigurationError(damaged) from None

    def _is_sound(self, artifact: Artifact) -> bool:
        try:
            for file in artifact.files:
                for _ in self._stored(artifact, file):
                    pass
        except ConfigurationError:
            return False
        return True

    def _versions(self, kind: ArtifactKind, name: str) -> list[str]:
        """Versions with an index, in any order."""
        require_name(name)
        entries = self._shelf.entries(_place(kind, name))
        return [found[1] for entry in entries if (found := INDEX.fullmatch(entry))]

    def _read(self, kind: ArtifactKind, name: str, *, version: str) -> Artifact:
        """What the index of a version says, if it says it of this very version."""
        key = _index(kind, name, version=version)
        content = bytearray()
        for block in self._shelf.read(key):
            content += block
            if len(content) > LONGEST_INDEX:
                break
        try:
            artifact = Artifact.model_validate_json(content)
            if (artifact.kind, artifact.name, artifact.version) == (kind, name, version):
                return artifact
        except ValidationError as error:
            raise _damaged(key, detail=first_problem(error, whole="index")) from error
        raise _damaged(key, detail=f"it is that of {artifact}")


def _place(kind: ArtifactKind, name: str) -> str:
    return f"{kind}/{name}"


def _index(kind: ArtifactKind, name: str, *, version: str) -> str:
    return f"{_place(kind, name)}/{version}.json"


def _damaged(key: str, *, detail: str) -> IndexDamaged:
    return IndexDamaged(
        f"The index {key!r} in the store cannot be read. Publish the same files again, or remove it.", detail=detail
    )

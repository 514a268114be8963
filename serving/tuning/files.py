"""Files of orgs: they come in, are shown, are read again, and go.

A file is checked, published, and then, in one transaction with what its org holds, gets its row: a crash in between
leaves bytes that `sweep` finds. Deleting goes the other way, and only while no job reads the file. Owns what an org may
keep. Does not own the checks (`checked.py`), bytes (`models/artifacts`) or rows (`serving/store`).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from models.artifacts.artifact import VERSION_DIGITS, Artifact
from models.artifacts.store import ArtifactStore
from models.clock import Clock
from models.errors import ConfigurationError, InvalidRequest, NotFound
from serving.adapters.registry import Received
from serving.adapters.releases import Actor
from serving.store.files import FilePage, FileRow, FileTable, Order
from serving.store.jobs import JobTable
from serving.tuning.checked import RESULTS, require_purpose
from serving.tuning.inputs import DATA, KIND

TAIL_DIGITS = 20
"""Of a file's id, behind the store's own stamp."""
ORPHAN_S = 3000.0
"""How old bytes without a row are when they go: longer than a publication takes, and with the ten minutes between two
sweeps within an hour."""

log = structlog.get_logger(__name__)

Check = Callable[[Path, str], Mapping[str, Any]]
"""(file, purpose) → what was found; raises `InvalidRequest`. Blocks."""


@dataclass(frozen=True, slots=True)
class FileAround:
    """What the desk works with. `work`: a folder for drafts, on the same disk as what is received; housekeeping tidies
    it; `max_bytes`: of one file; `org_max_bytes`: of all files of one org.
    """

    artifacts: ArtifactStore
    work: Path
    max_bytes: int
    org_max_bytes: int
    check: Check


@dataclass(frozen=True, slots=True)
class Told:
    """What its sender says of a file. `expires_after_s`: from the moment it is there."""

    name: str
    purpose: str
    expires_after_s: int | None = None


class FileDesk:
    """Files of orgs. Another org's file is as good as none."""

    def __init__(self, files: FileTable, jobs: JobTable, *, around: FileAround, clock: Clock) -> None:
        self._files = files
        self._jobs = jobs
        self._around = around
        self._clock = clock
        self._checking = asyncio.Semaphore(1)  # one check at a time: calls that are answered meanwhile need the core

    @property
    def work(self) -> Path:
        """The folder for what is on its way."""
        return self._around.work

    @property
    def max_bytes(self) -> int:
        """Of one file."""
        return self._around.max_bytes

    async def receive(self, actor: Actor, came: Received, *, told: Told) -> FileRow:
        """Check what came and keep it. Raises `InvalidRequest` with the line that is to blame, but none of its text.

        The received file itself is moved away.
        """
        require_purpose(told.purpose)
        self._require_room(await self._files.held_bytes(actor.org), size=came.size)
        async with self._checking:
            facts = await asyncio.to_thread(self._around.check, came.path, told.purpose)
        return await self._kept(actor, came, told=told, facts=facts, tail=secrets.token_hex(TAIL_DIGITS // 2))

    async def keep(self, actor: Actor, path: Path, *, name: str, source: str) -> FileRow:
        """A file of our own making, such as a job's metrics, unchecked; it is moved away. `source`: what it was made
        of; of one source there is one file, however often it is kept.
        """
        size = await asyncio.to_thread(lambda: path.stat().st_size)
        told = Told(name, RESULTS)
        tail = hashlib.sha256(f"{source}/{name}".encode()).hexdigest()[:TAIL_DIGITS]
        return await self._kept(actor, Received(path, size), told=told, facts={}, tail=tail)

    async def show(self, org: str, file: str) -> FileRow:
        """One file."""
        return self._there(await self._files.find(file, org=org))

    async def page(
        self, org: str, *, after: str | None, limit: int, order: Order = "desc", purpose: str | None = None
    ) -> FilePage:
        """Some of an org's files."""
        now = self._clock.now()
        found = await self._files.page(org, after=after, limit=limit, order=order, purpose=purpose, alive_at=now)
        if found is None:
            raise InvalidRequest("There is no file of this id to go on after.", param="after")
        return found

    async def delete(self, org: str, file: str) -> None:
        """Forget a file with its bytes; refused while a job reads it: no job can begin to meanwhile."""
        async with self._jobs.changing() as change:
            row = self._there(await change.files.find(file, org=org))
            if users := await change.uses(file):
                raise InvalidRequest(
                    f"Job {users[0]!r} reads this file: cancel it, or wait for its end.",
                    code="file_in_use",
                    param="file_id",
                )
            await change.files.drop(file)
        await self._discarded(row.id, digest=row.digest)

    async def content(self, org: str, file: str) -> tuple[FileRow, Path]:
        """A file, and a draft with its bytes, which whoever asked removes."""
        row = await self.show(org, file)
        try:
            return row, await asyncio.to_thread(self._brought, row)
        except ConfigurationError:
            await self.show(org, file)  # or it was deleted in this moment
            raise

    async def sweep(self) -> None:
        """Files whose time is over, as soon as no job reads them, and bytes that no row speaks of: of an upload that
        was cut, or a deletion that was. Safe from several gateways at once.
        """
        for row in await self._files.expired(self._clock.now()):
            async with self._jobs.changing() as change:
                over = not await change.uses(row.id) and await change.files.drop(row.id)
            if over:
                await self._discarded(row.id, digest=row.digest)
                log.info("file_expired", file=row.id)
        await self._sweep_orphans()

    async def _sweep_orphans(self) -> None:
        """Those with our stamp alone: several stacks may keep theirs in one place."""
        rows = await self._files.digests()
        keep = {(file, digest[:VERSION_DIGITS]) for file, digest in rows.items()}
        found = await asyncio.to_thread(self._around.artifacts.orphans, KIND, keep, older_than_s=ORPHAN_S)
        ours = f"file-{await self._files.stamp()}" if found else ""
        for name, version in found:
            if name.startswith(ours) and await self._files.find(name) is None:
                await self._discarded(name, digest=version)
                log.info("file_swept", file=name)

    async def _kept(self, actor: Actor, came: Received, *, told: Told, facts: Mapping[str, Any], tail: str) -> FileRow:
        file = f"file-{await self._files.stamp()}{tail}"
        artifact = await asyncio.to_thread(self._published, came.path, file)
        now = self._clock.now()
        row = FileRow(
            id=file,
            org=actor.org,
            name=told.name,
            purpose=told.purpose,
            bytes=came.size,
            digest=artifact.digest,
            created_by=actor.name,
            created_at=now,
            facts=facts,
            expires_at=None if told.expires_after_s is None else now + told.expires_after_s,
        )
        try:
            async with self._jobs.changing() as change:
                if told.purpose != RESULTS:
                    self._require_room(await change.files.held_bytes(actor.org), size=came.size)
                await change.files.put(row)
        except InvalidRequest:  # after any other failure nobody knows whether the row is there: the sweep looks
            await self._discarded(file, digest=artifact.digest)
            raise
        return row

    async def _discarded(self, file: str, *, digest: str) -> None:
        """Away with bytes that no row speaks of; what cannot be removed now is swept later."""
        try:
            await asyncio.to_thread(self._around.artifacts.discard, KIND, file, version=digest[:VERSION_DIGITS])
        except ConfigurationError as error:
            log.warning("file_not_removed", file=file, error=str(error))

    def _published(self, path: Path, file: str) -> Artifact:
        """Blocks."""
        with TemporaryDirectory(dir=self._around.work, prefix="file-") as draft:
            path.rename(Path(draft, DATA))
            return self._around.artifacts.publish(Path(draft), kind=KIND, name=file, about={})

    def _brought(self, row: FileRow) -> Path:
        """Blocks."""
        artifacts, work = self._around.artifacts, self._around.work
        with TemporaryDirectory(dir=work, prefix="content-") as place:
            folder = artifacts.fetch(artifacts.find(KIND, row.id, version=row.digest), to=Path(place))
            return (folder / DATA).rename(work / f"content-{secrets.token_hex(8)}.jsonl")

    def _there(self, row: FileRow | None) -> FileRow:
        if row is None or row.is_over(self._clock.now()):
            raise no_such_file()
        return row

    def _require_room(self, held: int, *, size: int) -> None:
        if held + size > (most := self._around.org_max_bytes):
            raise InvalidRequest(
                f"Your org's files hold {held:,} of {most:,} bytes: delete files that nobody needs.", param="file"
            )


def no_such_file() -> NotFound:
    """The one answer for what is not there, and for what is another org's."""
    return NotFound("There is no such file.", param="file_id")

"""The registry: adapters and versions come in, are shown, and go. Nothing here touches a replica.

A push claims a number, checks what came, publishes the files, and then, in one transaction, makes the version
`validated`: a crash in between leaves a row that housekeeping fails and files that it sweeps. Owns what an org may
hold. Does not own the checks (`models/adapters`), bytes (`models/artifacts`) or rows (`serving/store`).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models.adapters.archive import pack, unpack
from models.adapters.check import CheckedAdapter, prepare
from models.adapters.foundation import BaseModel
from models.artifacts.artifact import VERSION_DIGITS, Artifact, ArtifactKind
from models.artifacts.store import ArtifactStore
from models.clock import Clock
from models.crash import CrashPoints
from models.errors import InvalidRequest, NotFound, PenstockError
from serving.adapters import rules
from serving.adapters.in_hand import InHand
from serving.adapters.releases import Actor, Taken
from serving.settings import AdapterSettings
from serving.store.adapters import AdapterChange, AdapterRow, AdapterTable, AliasRow, AuditRow, VersionRow

KIND: ArtifactKind = "adapter"
MOST_FILES = 20
FAILURES_KEPT = 20


@dataclass(frozen=True, slots=True)
class Shown:
    """An adapter with everything that belongs to it, versions newest first."""

    adapter: AdapterRow
    versions: MutableSequence[VersionRow]
    aliases: MutableSequence[AliasRow]


@dataclass(frozen=True, slots=True)
class Received:
    """A file that came, and its bytes."""

    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the registry works with. `bases`: what adapters may be made for, by card; `model_names`: taken by models;
    `work`: a folder for drafts; `max_bytes`: of one adapter; `in_hand`: what this process works on.
    """

    bases: Mapping[str, BaseModel]
    model_names: frozenset[str]
    artifacts: ArtifactStore
    work: Path
    fetched: Path
    gateway: str
    settings: AdapterSettings
    max_bytes: int
    in_hand: InHand
    crash: CrashPoints


class AdapterRegistry:
    """Adapters of orgs. Another org's adapter is as good as none."""

    def __init__(self, table: AdapterTable, around: Surroundings, *, clock: Clock) -> None:
        self._table = table
        self._around = around
        self._clock = clock
        self._checking = asyncio.Semaphore(1)  # one check at a time: calls that are answered meanwhile need the core

    async def create(self, actor: Actor, name: str, *, base: str, price: Mapping[str, int] | None = None) -> AdapterRow:
        """A new adapter without a version."""
        async with self._table.changing() as change:
            if await change.adapter(actor.org, rules.require_free_name(name, taken=self._taken, param="name")):
                raise InvalidRequest(
                    "Your org has an adapter of this name already.", code="already_exists", param="name"
                )
            return await self._created(change, actor, name=name, base=base, price=price)

    async def push(
        self, actor: Actor, name: str, *, archive: Received, base: str | None, about: Mapping[str, Any]
    ) -> tuple[AdapterRow, VersionRow]:
        """A new version from a zip; makes the adapter where `base` is given and there is none of this name.

        The same files again are the same version. Raises `InvalidRequest` (`adapter_invalid`) with the reason, which
        the failed version keeps.
        """
        adapter, row = await self._claimed(actor, name, base=base, size=archive.size)
        with self._around.in_hand.holding(adapter.id, row.number):
            try:
                async with self._checking:
                    checked, artifact = await asyncio.to_thread(self._stored, archive.path, adapter)
                self._around.crash.reach("adapters.published")
                return adapter, await self._validated(actor, adapter, row=row, found=(checked, artifact), about=about)
            except BaseException as error:
                await asyncio.shield(self._failed(actor, adapter, row=row, error=error))
                raise

    async def list(self, org: str) -> list[Shown]:
        """Every adapter of an org, by name."""
        adapters, versions, aliases = await self._table.everything(org)
        found = {adapter.id: Shown(adapter, [], []) for adapter in adapters}
        for row in versions:
            found[row.adapter].versions.append(row)
        for alias in aliases:
            found[alias.adapter].aliases.append(alias)
        return list(found.values())

    async def show(self, org: str, name: str) -> Shown:
        """One of them."""
        return await self._shown(rules.require_adapter(await self._table.find(org, name)))

    async def version(self, org: str, name: str, *, number: int) -> tuple[AdapterRow, VersionRow]:
        """One version."""
        shown = await self.show(org, name)
        found = next((row for row in shown.versions if row.number == number), None)
        return shown.adapter, rules.require_row(found, number)

    async def audit(self, org: str, name: str, *, limit: int) -> Sequence[AuditRow]:
        """What was done with an adapter, newest first; also when the adapter is gone."""
        return await self._table.audit(org, subject=name, limit=limit)

    async def exported(self, org: str, name: str, *, number: int, to: Path) -> None:
        """Write a version's files as a zip, such as `push` takes."""
        adapter, row = await self.version(org, name, number=number)
        if row.digest is None:
            raise NotFound(f"Version {number} has no files.", param="version")
        await asyncio.to_thread(self._packed, adapter, row.digest, to=to)

    async def set_price(self, actor: Actor, name: str, *, price: Mapping[str, int] | None) -> AdapterRow:
        """What a million tokens of this adapter cost; None: what the base costs."""
        async with self._table.changing() as change:
            adapter = replace(rules.require_adapter(await change.adapter(actor.org, name)), price=price)
            await change.put_adapter(adapter)
            await self._note(change, actor, action="price", subject=name, detail={"price": price})
            return adapter

    async def scored(
        self, actor: Actor, name: str, *, number: int, score: Mapping[str, Any]
    ) -> tuple[AdapterRow, VersionRow]:
        """Keep how a version did on a suite: `suite`, `passed`, `count`; the newest of a suite counts."""
        async with self._table.changing() as change:
            adapter = rules.require_adapter(await change.adapter(actor.org, name))
            row = rules.require_row(await change.version(adapter.id, number), number)
            new = {"passed": score["passed"], "count": score["count"], "at": self._clock.now(), "by": actor.name}
            scores = {**row.facts.get("scores", {}), score["suite"]: new}
            row = replace(row, facts={**row.facts, "scores": scores})
            await change.put_version(row)
            await self._note(change, actor, action="score", subject=name, detail={"version": number, **score})
            return adapter, row

    async def delete_version(self, actor: Actor, name: str, *, number: int) -> None:
        """Forget a version and its files. One that replicas hold is refused."""
        async with self._table.changing() as change:
            adapter = rules.require_adapter(await change.adapter(actor.org, name))
            row = rules.require_row(await change.version(adapter.id, number), number)
            rules.require_unloaded(row)
            await change.drop_version(adapter.id, number)
            await self._note(
                change, actor, action="delete", subject=name, detail={"version": number, "digest": row.digest}
            )
        self._around.crash.reach("adapters.deleted")
        await self._removed(adapter.id, {row.digest})

    async def delete(self, actor: Actor, name: str) -> None:
        """Forget an adapter, its versions and their files. One that replicas hold is refused."""
        async with self._table.changing() as change:
            adapter = rules.require_adapter(await change.adapter(actor.org, name))
            rows = await change.versions(adapter.id)
            for row in rows:
                rules.require_unloaded(row)
            await change.drop_adapter(adapter.id)
            await self._note(
                change, actor, action="delete", subject=name, detail={"versions": [row.number for row in rows]}
            )
        self._around.crash.reach("adapters.deleted")
        await self._removed(adapter.id, {row.digest for row in rows})

    @property
    def _taken(self) -> frozenset[str]:
        """Names that models have already, whether or not they are served with adapters."""
        return self._around.model_names

    async def _claimed(self, actor: Actor, name: str, *, base: str | None, size: int) -> tuple[AdapterRow, VersionRow]:
        """The adapter, and a number for what came."""
        now = self._clock.now()
        async with self._table.changing() as change:
            adapter = await change.adapter(actor.org, name)
            if adapter is None:
                rules.require_free_name(name, taken=self._taken, param="name")
                if base is None:
                    raise NotFound("There is no such adapter. Name the base card of a new one.", param="base")
                adapter = await self._created(change, actor, name=name, base=base, price=None)
            elif base not in (None, adapter.base):
                raise InvalidRequest(
                    f"The adapter {name!r} stands on {adapter.base!r}: choose another name, or delete that adapter.",
                    code="adapter_invalid",
                    param="base",
                )
            self._base(adapter.base)
            await self._require_room(change, org=actor.org, size=size)
            number = adapter.numbered + 1
            adapter = replace(adapter, numbered=number)
            await change.put_adapter(adapter)
            row = VersionRow(
                adapter.id, number, "uploaded", actor.name, now, now, bytes=size, holder=self._around.gateway
            )
            await change.put_version(row)
            return adapter, row

    async def _created(
        self, change: AdapterChange, actor: Actor, *, name: str, base: str, price: Mapping[str, int] | None
    ) -> AdapterRow:
        self._base(base)
        await self._require_no_job(change, actor.org, name=name, base=base)
        count, _ = await change.holdings(actor.org)
        if count >= (most := self._around.settings.org_max_adapters):
            raise InvalidRequest(f"Your org has {count} adapters, which is the most: delete one of them.", param="name")
        row = AdapterRow(f"adp-{secrets.token_hex(8)}", actor.org, name, base, actor.name, self._clock.now(), price)
        await change.put_adapter(row)
        await self._note(
            change, actor, action="create", subject=name, detail={"id": row.id, "base": base, "most": most}
        )
        return row

    async def _require_no_job(self, change: AdapterChange, org: str, *, name: str, base: str) -> None:
        """The name is not kept for an adapter that a job of the org trains on another base."""
        for other in await change.bases_in_training(org, name):
            if other != base:
                raise InvalidRequest(
                    f"A fine-tuning job of your org trains {name!r} on {other!r}: choose another name, or cancel the"
                    " job first.",
                    code="already_exists",
                    param="name",
                )

    async def _taken_up(self, change: AdapterChange, row: VersionRow) -> VersionRow:
        """A version that somebody wants again: one that was to go stays."""
        if row.state in ("draining", "retired") and row.holder is not None:
            row = replace(row, holder=None)
            await change.put_version(row)
        return row

    async def _require_room(self, change: AdapterChange, *, org: str, size: int) -> None:
        _, held = await change.holdings(org)
        if held + size > (most := self._around.settings.org_max_bytes):
            raise InvalidRequest(
                f"Your org's adapters hold {held:,} of {most:,} bytes: delete versions that nobody needs.",
                code="adapter_invalid",
                param="file",
            )

    async def _validated(
        self,
        actor: Actor,
        adapter: AdapterRow,
        *,
        row: VersionRow,
        found: tuple[CheckedAdapter, Artifact],
        about: Mapping[str, Any],
    ) -> VersionRow:
        """The version, now that its files are published; an older one where these files are known already."""
        checked, artifact = found
        async with self._table.changing() as change:
            if not await self._is_ours(change, row):
                raise Taken("The version was deleted while it was checked. Push it again.", param="file")
            same = [other for other in await change.versions(adapter.id) if other.digest == artifact.digest]
            if usable := [other for other in same if other.state != "failed"]:
                await change.drop_version(adapter.id, row.number)
                await self._unnumbered(change, adapter, row=row)
                return await self._taken_up(change, usable[0])
            if not await asyncio.to_thread(self._around.artifacts.has, artifact):
                raise Taken("The same files were deleted in the same moment. Push them again.", param="file")
            await self._require_room(change, org=adapter.org, size=artifact.size - row.bytes)
            made = replace(
                rules.stepped(row, "validated", now=self._clock.now()),
                digest=artifact.digest,
                bytes=artifact.size,
                base_revision=self._base(adapter.base).revision,
                facts={**asdict(checked), **about},
            )
            await change.put_version(made)
            detail = {"version": row.number, "digest": artifact.digest, "bytes": artifact.size}
            await self._note(change, actor, action="push", subject=adapter.name, detail=detail)
            return made

    async def _is_ours(self, change: AdapterChange, row: VersionRow) -> bool:
        """Whether nobody has deleted or given up a version while its files were checked."""
        found = await change.version(row.adapter, row.number)
        return found is not None and (found.state, found.holder) == (row.state, row.holder)

    async def _unnumbered(self, change: AdapterChange, adapter: AdapterRow, *, row: VersionRow) -> None:
        """The number of what turned out to be another version is free again, unless a later one was given."""
        known = await change.adapter(adapter.org, adapter.name)
        if known is not None and known.numbered == row.number:
            await change.put_adapter(replace(known, numbered=row.number - 1))

    async def _failed(self, actor: Actor, adapter: AdapterRow, *, row: VersionRow, error: BaseException) -> None:
        """Keep why nothing became of a version; of many that failed, the last ones."""
        reason = error.public if isinstance(error, PenstockError) else type(error).__name__
        async with self._table.changing() as change:
            if not await self._is_ours(change, row):
                return
            failures = [other.number for other in await change.versions(adapter.id) if other.state == "failed"]
            for number in failures[FAILURES_KEPT - 1 :]:
                await change.drop_version(adapter.id, number)
            failed = rules.stepped(row, "failed", now=self._clock.now(), reason=reason[:500], bytes=0)
            await change.put_version(failed)
            await self._note(
                change,
                actor,
                action="push refused",
                subject=adapter.name,
                detail={"version": row.number, "reason": reason[:500]},
            )

    def _stored(self, archive: Path, adapter: AdapterRow) -> tuple[CheckedAdapter, Artifact]:
        """Unpack, check, publish. Blocks."""
        around = self._around
        with TemporaryDirectory(dir=around.work, prefix="push-") as draft:
            came, clean = Path(draft, "came"), Path(draft, "clean")
            came.mkdir(mode=0o700)
            clean.mkdir(mode=0o700)
            unpack(archive, came, max_bytes=around.max_bytes, max_files=MOST_FILES)
            checked = prepare(came, self._base(adapter.base), into=clean)
            around.crash.reach("adapters.checked")
            about = {"org": adapter.org, "name": adapter.name, "base": adapter.base}
            return checked, around.artifacts.publish(clean, kind=KIND, name=adapter.id, about=about)

    def _packed(self, adapter: AdapterRow, digest: str, *, to: Path) -> None:
        artifact = self._around.artifacts.find(KIND, adapter.id, version=digest)
        pack(self._around.artifacts.fetch(artifact, to=self._around.fetched), to)

    async def _removed(self, adapter: str, digests: set[str | None]) -> None:
        """Away with files that no row speaks of; what cannot be removed now, housekeeping sweeps."""
        for digest in digests:
            if digest is not None:
                await removed(self._table, self._around.artifacts, adapter=adapter, version=digest[:VERSION_DIGITS])

    def _base(self, card: str) -> BaseModel:
        found = self._around.bases.get(card)
        if found is None:
            raise InvalidRequest(
                f"This stack serves no card of this name. Choose one of {', '.join(sorted(self._around.bases))}.",
                param="base",
            )
        return found

    async def _shown(self, adapter: AdapterRow) -> Shown:
        return Shown(adapter, await self._table.versions(adapter.id), await self._table.aliases(adapter.id))

    async def _note(
        self, change: AdapterChange, actor: Actor, *, action: str, subject: str, detail: Mapping[str, Any]
    ) -> None:
        await change.note(AuditRow(self._clock.now(), actor.org, actor.name, action, subject, detail))


async def removed(table: AdapterTable, artifacts: ArtifactStore, *, adapter: str, version: str) -> bool:
    """Away with one version's files, unless a row speaks of them: while they go, no push can say that they are there.

    One at a time, because everybody else who writes to the database waits for it. `version`: as the store calls it.
    """
    async with table.changing() as change:
        if any((row.digest or "").startswith(version) for row in await change.versions(adapter)):
            return False
        await asyncio.to_thread(artifacts.discard, KIND, adapter, version=version)
        return True

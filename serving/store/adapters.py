"""Adapters in SQL: adapters, versions and aliases as frozen rows, and changes of them that happen whole or not at all.

A change takes the mark `adapters` first, so that there is one writer at a time, and raises it, so that gateways follow.
Does not know what may be changed: `serving/adapters` does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from models.adapters.names import AdapterRef, engine_name
from models.adapters.states import LOADED, VersionState
from serving.store.database import Database
from serving.store.jobs import bases_in_training
from serving.store.schema import ADAPTER_VERSIONS, ADAPTERS, ALIASES, AUDIT, MARKS

MARK = "adapters"


@dataclass(frozen=True, slots=True)
class AdapterRow:
    """An adapter: a name that an org owns, for one base card. `price`: micro-USD per million tokens, if its own;
    `numbered`: the highest number that a version ever had, so that none is given again.
    """

    id: str
    org: str
    name: str
    base: str
    created_by: str
    created_at: float
    price: Mapping[str, int] | None = None
    numbered: int = 0


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version of an adapter. `number` is for people; `digest`, of its files, is None until it was validated.

    `facts`: rank, modules and what its publisher says; `reason`: why it failed; `holder`: the gateway that works on it;
    `warm_until`: when a draining one may be unloaded. Times in epoch seconds.
    """

    adapter: str
    number: int
    state: VersionState
    created_by: str
    created_at: float
    state_at: float
    digest: str | None = None
    bytes: int = 0
    base_revision: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    holder: str | None = None
    warm_until: float | None = None


@dataclass(frozen=True, slots=True)
class AliasRow:
    """A public name of an org. `targets`: (version, weight in percent), the live version first; `previous`: the one
    before it; `canary`: how the second target is judged, while there is one.
    """

    org: str
    name: str
    adapter: str
    targets: tuple[tuple[int, float], ...]
    changed_at: float
    previous: int | None = None
    canary: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who did what to which thing, and the evidence."""

    at: float
    org: str
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a gateway has to know of adapters, as of one mark."""

    mark: int
    adapters: tuple[AdapterRow, ...]
    versions: tuple[VersionRow, ...]
    aliases: tuple[AliasRow, ...]


class AdapterTable:
    """The repository of adapters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self) -> int:
        """A number that grows with every change."""
        async with self._database.transaction("read") as connection:
            return await _mark(connection)

    async def snapshot(self, revisions: Mapping[str, str] | None = None) -> Snapshot:
        """What is loaded or being loaded, and every alias, as of one moment.

        `revisions`, card → the base revision that is served: what was made for another one is left out.
        """
        async with self._database.transaction("read") as connection:
            mark = await _mark(connection)
            adapters = tuple(map(_adapter, await connection.execute(select(ADAPTERS))))
            wanted = ADAPTER_VERSIONS.c.state.in_((*LOADED, "loading"))
            versions = tuple(map(_version, await connection.execute(select(ADAPTER_VERSIONS).where(wanted))))
            aliases = tuple(map(_alias, await connection.execute(select(ALIASES))))
        if revisions is not None:
            current = {row.id: revisions.get(row.base) for row in adapters}
            versions = tuple(row for row in versions if row.base_revision == current[row.adapter])
        return Snapshot(mark, adapters, versions, aliases)

    async def live(self, base: str, *, revision: str) -> list[AdapterRef]:
        """What a replica of this card has to serve: what aliases name first, and of those the newest change first."""
        found = await self.snapshot({base: revision})
        adapters = {row.id: row for row in found.adapters if row.base == base}
        named = {(row.adapter, number): row.changed_at for row in found.aliases for number, _ in row.targets}
        versions = [row for row in found.versions if row.state in LOADED and row.adapter in adapters and row.digest]
        versions.sort(key=lambda row: named.get((row.adapter, row.number), 0.0), reverse=True)
        return [ref_of(adapters[row.adapter], row) for row in versions]

    async def everything(self, org: str) -> tuple[list[AdapterRow], list[VersionRow], list[AliasRow]]:
        """Every adapter of an org by name, every version of them newest first, and every alias by name."""
        own = select(ADAPTERS.c.id).where(ADAPTERS.c.org == org)
        versions = select(ADAPTER_VERSIONS).where(ADAPTER_VERSIONS.c.adapter.in_(own))
        async with self._database.transaction("read") as connection:
            adapters = await connection.execute(select(ADAPTERS).where(ADAPTERS.c.org == org).order_by(ADAPTERS.c.name))
            rows = await connection.execute(versions.order_by(ADAPTER_VERSIONS.c.number.desc()))
            aliases = await connection.execute(select(ALIASES).where(ALIASES.c.org == org).order_by(ALIASES.c.name))
            return list(map(_adapter, adapters)), list(map(_version, rows)), list(map(_alias, aliases))

    async def find(self, org: str, name: str) -> AdapterRow | None:
        """One adapter."""
        async with self._database.transaction("read") as connection:
            return await _found_adapter(connection, org=org, name=name)

    async def versions(self, adapter: str) -> list[VersionRow]:
        """Every version of an adapter, newest first."""
        async with self._database.transaction("read") as connection:
            return await _versions(connection, adapter)

    async def aliases(self, adapter: str) -> list[AliasRow]:
        """The aliases that point to an adapter, by name."""
        query = select(ALIASES).where(ALIASES.c.adapter == adapter).order_by(ALIASES.c.name)
        async with self._database.transaction("read") as connection:
            return [_alias(row) for row in await connection.execute(query)]

    async def alias(self, org: str, name: str) -> AliasRow | None:
        """One alias."""
        async with self._database.transaction("read") as connection:
            return await _found_alias(connection, org=org, name=name)

    async def in_states(self, *states: VersionState) -> list[tuple[AdapterRow, VersionRow]]:
        """Every version in one of these states, with its adapter."""
        query = select(ADAPTER_VERSIONS).where(ADAPTER_VERSIONS.c.state.in_(states))
        async with self._database.transaction("read") as connection:
            versions = [_version(row) for row in await connection.execute(query)]
            adapters = {row.id: _adapter(row) for row in await connection.execute(select(ADAPTERS))}
            return [(adapters[version.adapter], version) for version in versions]

    async def digests(self) -> list[tuple[str, str]]:
        """Adapter id and digest of every version that has files, sorted by adapter."""
        query = select(ADAPTER_VERSIONS.c.adapter, ADAPTER_VERSIONS.c.digest)
        query = query.where(ADAPTER_VERSIONS.c.digest.is_not(None)).order_by(ADAPTER_VERSIONS.c.adapter)
        async with self._database.transaction("read") as connection:
            return [(str(adapter), str(digest)) for adapter, digest in await connection.execute(query)]

    async def made(self) -> set[str]:
        """The id of every adapter that this registry ever had."""
        async with self._database.transaction("read") as connection:
            details = await connection.scalars(select(AUDIT.c.detail).where(AUDIT.c.action == "create"))
            return {str(detail["id"]) for detail in details if "id" in detail}

    async def audit(self, org: str, *, subject: str | None = None, limit: int = 100) -> list[AuditRow]:
        """The last audit rows of an org, newest first."""
        query = select(AUDIT).where(AUDIT.c.org == org)
        if subject is not None:
            query = query.where(AUDIT.c.subject == subject)
        async with self._database.transaction("read") as connection:
            rows = await connection.execute(query.order_by(AUDIT.c.id.desc()).limit(limit))
            return [AuditRow(**{name: getattr(row, name) for name in AUDIT_FIELDS}) for row in rows]

    @asynccontextmanager
    async def changing(self) -> AsyncGenerator[AdapterChange]:
        """A change: all of what is done in the block, or, when it raises, nothing."""
        async with self._database.transaction("durable") as connection:
            await connection.execute(update(MARKS).where(MARKS.c.name == MARK).values(value=MARKS.c.value + 1))
            yield AdapterChange(connection, self._database, mark=await _mark(connection))


class AdapterChange:
    """Reads and writes inside one transaction; nobody else changes an adapter meanwhile. `mark`: the one it makes."""

    def __init__(self, connection: AsyncConnection, database: Database, *, mark: int) -> None:
        self._connection = connection
        self._database = database
        self.mark = mark

    async def adapter(self, org: str, name: str) -> AdapterRow | None:
        """One adapter."""
        return await _found_adapter(self._connection, org=org, name=name)

    async def bases_in_training(self, org: str, name: str) -> list[str]:
        """The bases of the jobs that will make a version of an adapter of this name."""
        return await bases_in_training(self._connection, org, adapter=name)

    async def version(self, adapter: str, number: int) -> VersionRow | None:
        """One version."""
        query = select(ADAPTER_VERSIONS).where(
            ADAPTER_VERSIONS.c.adapter == adapter, ADAPTER_VERSIONS.c.number == number
        )
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else _version(row)

    async def versions(self, adapter: str) -> list[VersionRow]:
        """Every version of an adapter, newest first."""
        return await _versions(self._connection, adapter)

    async def alias(self, org: str, name: str) -> AliasRow | None:
        """One alias."""
        return await _found_alias(self._connection, org=org, name=name)

    async def aliases(self, adapter: str) -> list[AliasRow]:
        """The aliases that point to an adapter."""
        rows = await self._connection.execute(select(ALIASES).where(ALIASES.c.adapter == adapter))
        return [_alias(row) for row in rows]

    async def holdings(self, org: str) -> tuple[int, int]:
        """How many adapters an org has, and the bytes of all their versions."""
        adapters = select(func.count()).select_from(ADAPTERS).where(ADAPTERS.c.org == org)
        held = select(func.coalesce(func.sum(ADAPTER_VERSIONS.c.bytes), 0)).join(
            ADAPTERS, ADAPTERS.c.id == ADAPTER_VERSIONS.c.adapter
        )
        count = await self._connection.scalar(adapters)
        size = await self._connection.scalar(held.where(ADAPTERS.c.org == org))
        return int(count or 0), int(size or 0)

    async def put_adapter(self, row: AdapterRow) -> None:
        """A new adapter, or new facts of it."""
        await self._upsert(ADAPTERS, {**asdict(row)}, keys=["id"])

    async def put_version(self, row: VersionRow) -> None:
        """A new version, or its new state."""
        await self._upsert(ADAPTER_VERSIONS, asdict(row), keys=["adapter", "number"])

    async def put_alias(self, row: AliasRow) -> None:
        """A new alias, or where it points now."""
        values = {**asdict(row), "targets": [list(target) for target in row.targets]}
        await self._upsert(ALIASES, values, keys=["org", "name"])

    async def drop_alias(self, org: str, name: str) -> None:
        """Take a public name away."""
        await self._connection.execute(delete(ALIASES).where(ALIASES.c.org == org, ALIASES.c.name == name))

    async def drop_version(self, adapter: str, number: int) -> None:
        """Forget a version."""
        await self._connection.execute(
            delete(ADAPTER_VERSIONS).where(ADAPTER_VERSIONS.c.adapter == adapter, ADAPTER_VERSIONS.c.number == number)
        )

    async def drop_adapter(self, adapter: str) -> None:
        """Forget an adapter with everything that belongs to it."""
        for table, column in ((ALIASES, "adapter"), (ADAPTER_VERSIONS, "adapter"), (ADAPTERS, "id")):
            await self._connection.execute(delete(table).where(table.c[column] == adapter))

    async def note(self, row: AuditRow) -> None:
        """What was done, by whom."""
        await self._connection.execute(AUDIT.insert().values(asdict(row)))

    async def _upsert(self, table: Any, values: dict[str, Any], *, keys: Sequence[str]) -> None:
        statement = self._database.insert(table).values(values)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=values))


AUDIT_FIELDS = tuple(entry.name for entry in fields(AuditRow))


def ref_of(adapter: AdapterRow, version: VersionRow) -> AdapterRef:
    """What a replica needs of a version that was validated."""
    if version.digest is None:
        raise ValueError(f"version {version.number} of {adapter.name} has no files")
    return AdapterRef(engine_name(adapter.name, version.digest), adapter.id, version.digest)


async def _mark(connection: AsyncConnection) -> int:
    return int(await connection.scalar(select(MARKS.c.value).where(MARKS.c.name == MARK)) or 0)


async def _found_adapter(connection: AsyncConnection, *, org: str, name: str) -> AdapterRow | None:
    query = select(ADAPTERS).where(ADAPTERS.c.org == org, ADAPTERS.c.name == name)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _adapter(row)


async def _found_alias(connection: AsyncConnection, *, org: str, name: str) -> AliasRow | None:
    query = select(ALIASES).where(ALIASES.c.org == org, ALIASES.c.name == name)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _alias(row)


async def _versions(connection: AsyncConnection, adapter: str) -> list[VersionRow]:
    query = select(ADAPTER_VERSIONS).where(ADAPTER_VERSIONS.c.adapter == adapter)
    rows = await connection.execute(query.order_by(ADAPTER_VERSIONS.c.number.desc()))
    return [_version(row) for row in rows]


def _adapter(row: Row[Any]) -> AdapterRow:
    return AdapterRow(**dict(row._mapping))


def _version(row: Row[Any]) -> VersionRow:
    return VersionRow(**dict(row._mapping))


def _alias(row: Row[Any]) -> AliasRow:
    values = dict(row._mapping)
    values["targets"] = tuple((int(number), float(weight)) for number, weight in values["targets"])
    return AliasRow(**values)

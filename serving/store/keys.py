"""Keys and orgs in SQL: rows as frozen values, digests only. Every change raises the mark that gateways watch.

Does not know how a secret looks or who may make keys: `serving/tenancy/keys.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, RowMapping, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.store.database import Database
from serving.store.schema import KEYS, MARKS, ORGS

Revocation = Literal["revoked", "missing", "last_admin"]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key as stored; `keep_text` is its org's choice."""

    id: str
    sha256: str
    prefix: str
    name: str | None
    org: str
    user: str
    role: str
    models: tuple[str, ...] | None
    concurrency: int | None
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    keep_text: bool = False

    def usable(self, now: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class KeyTable:
    """The repository of keys and their orgs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self) -> int:
        """A number that grows with every change of a key or an org."""
        async with self._database.transaction("read") as connection:
            return int(await connection.scalar(select(MARKS.c.value).where(MARKS.c.name == "keys")) or 0)

    async def active(self) -> list[KeyRow]:
        """Every key that is not revoked."""
        return await self._select(KEYS.c.revoked_at.is_(None))

    async def all(self) -> list[KeyRow]:
        """Every key ever made, newest first."""
        return (await self._select())[::-1]

    async def by_digest(self, sha256: str) -> KeyRow | None:
        """One indexed look-up."""
        rows = await self._select(KEYS.c.sha256 == sha256)
        return rows[0] if rows else None

    async def add(self, row: KeyRow, *, org_id: str) -> None:
        """Store a key; its org is made with `org_id` when it is new."""
        async with self._database.transaction("durable") as connection:
            await _raise_mark(connection)
            await self._insert(connection, row, org_id=org_id)

    async def add_first(self, row: KeyRow, *, org_id: str) -> bool:
        """Store a key unless there has ever been one. Of several processes, one gets True."""
        async with self._database.transaction("durable") as connection:
            await _raise_mark(connection)
            if await connection.scalar(select(func.count()).select_from(KEYS)):
                return False
            await self._insert(connection, row, org_id=org_id)
            return True

    async def revoke(self, key_id: str, *, now: float) -> Revocation:
        """Revoke a key, unless it is the last admin key that still works."""
        async with self._database.transaction("durable") as connection:
            await _raise_mark(connection)
            found = await _rows(connection, KEYS.c.id == key_id)
            if not found:
                return "missing"
            if await _is_last_admin(connection, found[0], now=now):
                return "last_admin"
            await connection.execute(
                update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked_at.is_(None)).values(revoked_at=now)
            )
            return "revoked"

    async def keep_text(self, org: str, keep: bool) -> bool:
        """Whether records of this org keep prompt and answer text; False when there is no such org."""
        async with self._database.transaction("durable") as connection:
            await _raise_mark(connection)
            changed = await connection.execute(update(ORGS).where(ORGS.c.name == org).values(keep_text=keep))
            return changed.rowcount > 0

    async def _select(self, *conditions: ColumnElement[bool]) -> list[KeyRow]:
        async with self._database.transaction("read") as connection:
            return await _rows(connection, *conditions)

    async def _insert(self, connection: AsyncConnection, row: KeyRow, *, org_id: str) -> None:
        org = {"id": org_id, "name": row.org, "keep_text": row.keep_text, "created_at": row.created_at}
        await connection.execute(self._database.insert(ORGS).values(org).on_conflict_do_nothing())
        if row.keep_text:
            await connection.execute(update(ORGS).where(ORGS.c.name == row.org).values(keep_text=True))
        values = {column.name: getattr(row, column.name) for column in KEYS.columns}
        await connection.execute(KEYS.insert().values(values))


async def _raise_mark(connection: AsyncConnection) -> None:
    """Taken first in every change: from here to the commit this transaction is the only writer of keys."""
    await connection.execute(update(MARKS).where(MARKS.c.name == "keys").values(value=MARKS.c.value + 1))


async def _rows(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> list[KeyRow]:
    query = select(KEYS, ORGS.c.keep_text).join(ORGS, ORGS.c.name == KEYS.c.org).where(*conditions)
    rows = await connection.execute(query.order_by(KEYS.c.created_at, KEYS.c.id))
    return [_row(mapping) for mapping in rows.mappings()]


def _row(mapping: RowMapping) -> KeyRow:
    values: dict[str, Any] = {name: mapping[name] for name in KeyRow.__slots__}
    if values["models"] is not None:
        values["models"] = tuple(values["models"])
    return KeyRow(**values)


async def _is_last_admin(connection: AsyncConnection, row: KeyRow, *, now: float) -> bool:
    if row.role != "admin" or not row.usable(now):
        return False
    others = select(func.count()).where(
        KEYS.c.role == "admin",
        KEYS.c.id != row.id,
        KEYS.c.revoked_at.is_(None),
        or_(KEYS.c.expires_at.is_(None), KEYS.c.expires_at > now),
    )
    return not await connection.scalar(others)

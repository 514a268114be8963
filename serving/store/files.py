"""Uploaded files in SQL.

Owns the rows; the bytes lie in the artifact store, published before their row is written. A file goes only while no job
uses it: `JobTable.changing()` gives both in one transaction.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.store.database import Database
from serving.store.schema import FILES, MARKS

Order = Literal["asc", "desc"]
STAMP = "files"
STAMP_BITS = 40


@dataclass(frozen=True, slots=True)
class FileRow:
    """A checked file. `name`: its sender's, never a path of ours; `digest`: of the artifact; `facts`: what the check
    found, such as `format` and `examples`. Times in epoch seconds.
    """

    id: str
    org: str
    name: str
    purpose: str
    bytes: int
    digest: str
    created_by: str
    created_at: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    expires_at: float | None = None

    def is_over(self, now: float) -> bool:
        """Whether its time has come: nobody may begin to use it, though its bytes may lie there for some minutes."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class FilePage:
    """Some files, and whether more follow."""

    rows: list[FileRow]
    more: bool


class FileChange:
    """Reads and writes inside one transaction of somebody."""

    def __init__(self, connection: AsyncConnection, database: Database) -> None:
        self._connection = connection
        self._database = database

    async def find(self, file: str, *, org: str | None = None) -> FileRow | None:
        """One file; with `org`, only one of that org."""
        query = select(FILES).where(FILES.c.id == file)
        if org is not None:
            query = query.where(FILES.c.org == org)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else FileRow(**row._mapping)

    async def held_bytes(self, org: str) -> int:
        """Bytes of all files of an org."""
        query = select(func.sum(FILES.c.bytes)).where(FILES.c.org == org)
        return int(await self._connection.scalar(query) or 0)

    async def put(self, row: FileRow) -> None:
        """A new file, or its new state."""
        values = asdict(row)
        statement = self._database.insert(FILES).values(values)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))

    async def drop(self, file: str) -> bool:
        """Forget a file; False when there is none."""
        gone = await self._connection.execute(delete(FILES).where(FILES.c.id == file))
        return bool(gone.rowcount)


class FileTable:
    """The repository of files: each call is a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, file: str, *, org: str | None = None) -> FileRow | None:
        """One file; with `org`, only one of that org."""
        async with self._database.transaction("read") as connection:
            return await FileChange(connection, self._database).find(file, org=org)

    async def page(
        self,
        org: str,
        *,
        after: str | None = None,
        limit: int,
        order: Order = "desc",
        purpose: str | None = None,
        alive_at: float = 0.0,
    ) -> FilePage | None:
        """Files of an org by the moment they came, after that file; None where the org has no such file. Without those
        whose time was over at `alive_at`.
        """
        query = select(FILES).where(
            FILES.c.org == org, or_(FILES.c.expires_at.is_(None), FILES.c.expires_at > alive_at)
        )
        if purpose is not None:
            query = query.where(FILES.c.purpose == purpose)
        async with self._database.transaction("read") as connection:
            if after is not None:
                place = await FileChange(connection, self._database).find(after, org=org)
                if place is None:
                    return None
                query = query.where(_behind(place, order))
            columns = (FILES.c.created_at, FILES.c.id)
            query = query.order_by(*(column.desc() if order == "desc" else column.asc() for column in columns))
            rows = [FileRow(**row._mapping) for row in await connection.execute(query.limit(limit + 1))]
            return FilePage(rows[:limit], len(rows) > limit)

    async def put(self, row: FileRow) -> None:
        """A new file, or its new state."""
        async with self._database.transaction("durable") as connection:
            await FileChange(connection, self._database).put(row)

    async def drop(self, file: str) -> bool:
        """Forget a file, used or not; False when there is none."""
        async with self._database.transaction("durable") as connection:
            return await FileChange(connection, self._database).drop(file)

    async def held_bytes(self, org: str) -> int:
        """Bytes of all files of an org."""
        async with self._database.transaction("read") as connection:
            return await FileChange(connection, self._database).held_bytes(org)

    async def digests(self) -> dict[str, str]:
        """Of every file, by id."""
        async with self._database.transaction("read") as connection:
            rows = await connection.execute(select(FILES.c.id, FILES.c.digest))
            return {row.id: row.digest for row in rows}

    async def expired(self, now: float) -> list[FileRow]:
        """Files whose time is over, oldest first."""
        query = select(FILES).where(FILES.c.expires_at <= now).order_by(FILES.c.created_at, FILES.c.id)
        async with self._database.transaction("read") as connection:
            return [FileRow(**row._mapping) for row in await connection.execute(query)]

    async def stamp(self) -> str:
        """Ten hexadecimal digits that are this store's own for ever. Ids of its files begin with them: of several
        stacks that keep files in one place, each knows which are its own.
        """
        drawn = secrets.randbits(STAMP_BITS)
        first = self._database.insert(MARKS).values(name=STAMP, value=drawn).on_conflict_do_nothing()
        async with self._database.transaction("durable") as connection:
            await connection.execute(first)
            known = await connection.scalar(select(MARKS.c.value).where(MARKS.c.name == STAMP))
        return f"{int(known or 0):0{STAMP_BITS // 4}x}"


def _behind(place: FileRow, order: Order) -> ColumnElement[bool]:
    """What comes after a file in that order; of one moment, by id."""
    at, name = FILES.c.created_at, FILES.c.id
    if order == "desc":
        return (at < place.created_at) | ((at == place.created_at) & (name < place.id))
    return (at > place.created_at) | ((at == place.created_at) & (name > place.id))

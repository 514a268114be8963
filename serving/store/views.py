"""How far each gateway has followed a mark, and who holds a lease: what processes know of each other, in SQL.

A gateway whose row is old is gone, or cannot reach the database. Owns no decision.
"""

from __future__ import annotations

from sqlalchemy import delete, select

from serving.store.database import Database
from serving.store.schema import LEASES, VIEWS

FORGET_S = 3600.0


class ViewTable:
    """The repository of gateways' views, and of leases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def saw(self, gateway: str, mark: str, *, value: int, now: float) -> None:
        """This gateway works by this value of the mark from now on."""
        values = {"gateway": gateway, "mark": mark, "value": value, "seen_at": now}
        statement = self._database.insert(VIEWS).values(values)
        async with self._database.transaction("write") as connection:
            await connection.execute(statement.on_conflict_do_update(index_elements=["gateway", "mark"], set_=values))
            await connection.execute(delete(VIEWS).where(VIEWS.c.seen_at < now - FORGET_S))

    async def behind(self, mark: str, value: int, *, since: float) -> list[str]:
        """The gateways that are alive (seen after `since`) and have not followed the mark to this value."""
        query = select(VIEWS.c.gateway).where(VIEWS.c.mark == mark, VIEWS.c.value < value, VIEWS.c.seen_at > since)
        async with self._database.transaction("read") as connection:
            return sorted(await connection.scalars(query))

    async def alive(self, mark: str, *, since: float) -> set[str]:
        """The gateways that were seen after `since`."""
        query = select(VIEWS.c.gateway).where(VIEWS.c.mark == mark, VIEWS.c.seen_at > since)
        async with self._database.transaction("read") as connection:
            return set(await connection.scalars(query))

    async def gone(self, gateway: str) -> None:
        """This gateway ends."""
        async with self._database.transaction("write") as connection:
            await connection.execute(delete(VIEWS).where(VIEWS.c.gateway == gateway))
            await connection.execute(delete(LEASES).where(LEASES.c.holder == gateway))

    async def hold(self, lease: str, holder: str, *, now: float, for_s: float) -> bool:
        """Take a lease that is free, or keep one's own; False while somebody else holds it."""
        values = {"name": lease, "holder": holder, "until": now + for_s}
        statement = self._database.insert(LEASES).values(values)
        mine = statement.on_conflict_do_update(
            index_elements=["name"], set_=values, where=(LEASES.c.holder == holder) | (LEASES.c.until < now)
        )
        async with self._database.transaction("write") as connection:
            return (await connection.execute(mine)).rowcount > 0

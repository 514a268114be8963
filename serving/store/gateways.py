"""The metrics text of each gateway process in SQL, so that one scrape can speak for all of them."""

from __future__ import annotations

from sqlalchemy import delete, select

from serving.store.database import Database
from serving.store.schema import GATEWAYS

FORGET_S = 3600.0


class GatewayTable:
    """The repository of the gateways' latest figures."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish(self, gateway: str, exposition: str, *, now: float) -> None:
        """Replace this gateway's figures; those of gateways that died long ago go."""
        values = {"id": gateway, "exposition": exposition, "updated_at": now}
        statement = self._database.insert(GATEWAYS).values(values)
        async with self._database.transaction("write") as connection:
            await connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))
            await connection.execute(delete(GATEWAYS).where(GATEWAYS.c.updated_at < now - FORGET_S))

    async def others(self, gateway: str, *, since: float) -> list[str]:
        """The figures of every other gateway that published after `since`."""
        async with self._database.transaction("read") as connection:
            query = select(GATEWAYS.c.exposition).where(GATEWAYS.c.id != gateway, GATEWAYS.c.updated_at > since)
            return list(await connection.scalars(query.order_by(GATEWAYS.c.id)))

    async def forget(self, gateway: str) -> None:
        """Delete this gateway's figures."""
        async with self._database.transaction("write") as connection:
            await connection.execute(delete(GATEWAYS).where(GATEWAYS.c.id == gateway))

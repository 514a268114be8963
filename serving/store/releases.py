"""Router releases in SQL: which model and threshold are live, and what was live before. Every change raises the mark
that gateways watch.

Does not know what may be released: `serving/classifier/releases.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from sqlalchemy import Row, select, update

from serving.store.database import Database
from serving.store.schema import MARKS, ROUTER_RELEASES


@dataclass(frozen=True, slots=True)
class ReleaseRow:
    """One state of a router under a policy, whose scores are on a scale of their own: gains of `version` from
    `threshold` on go to the large tier.

    `share`: the share of large calls that was meant, if one was, and `basis` the prompts by which it was turned into a
    threshold; `shadow`: the version that reads along, if one does.
    """

    name: str
    policy: str
    action: str
    version: str
    threshold: float
    created_at: float
    share: float | None = None
    basis: str | None = None
    shadow: str | None = None
    shadow_threshold: float | None = None
    id: int = 0


class ReleaseTable:
    """The repository of router releases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self) -> int:
        """A number that grows with every release."""
        async with self._database.transaction("read") as connection:
            return int(await connection.scalar(select(MARKS.c.value).where(MARKS.c.name == "router")) or 0)

    async def history(self, name: str, policy: str, *, limit: int = 20) -> list[ReleaseRow]:
        """The last states of a router under a policy, the one that is live first."""
        query = select(ROUTER_RELEASES).where(ROUTER_RELEASES.c.name == name, ROUTER_RELEASES.c.policy == policy)
        async with self._database.transaction("read") as connection:
            rows = await connection.execute(query.order_by(ROUTER_RELEASES.c.id.desc()).limit(limit))
            return [_release(row) for row in rows]

    async def live(self, name: str, policy: str) -> ReleaseRow | None:
        """The state that counts; None before the first release."""
        found = await self.history(name, policy, limit=1)
        return found[0] if found else None

    async def add(self, row: ReleaseRow, *, after: int) -> ReleaseRow | None:
        """Make this state live, unless another one than `after` (0: none) is live by now: then None."""
        values = {field.name: getattr(row, field.name) for field in fields(row) if field.name != "id"}
        latest = select(ROUTER_RELEASES.c.id).where(
            ROUTER_RELEASES.c.name == row.name, ROUTER_RELEASES.c.policy == row.policy
        )
        async with self._database.transaction("durable") as connection:
            await connection.execute(update(MARKS).where(MARKS.c.name == "router").values(value=MARKS.c.value + 1))
            newest = await connection.scalar(latest.order_by(ROUTER_RELEASES.c.id.desc()).limit(1)) or 0
            if newest != after:
                return None
            made = await connection.execute(ROUTER_RELEASES.insert().values(values))
            key = made.inserted_primary_key
            return replace(row, id=int(key[0]) if key else 0)


def _release(row: Row[tuple[object, ...]]) -> ReleaseRow:
    return ReleaseRow(**dict(row._mapping))

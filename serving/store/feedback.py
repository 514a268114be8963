"""Feedback in SQL: one opinion per record and user, the last one wins."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import select

from serving.store.database import Database
from serving.store.records import storable
from serving.store.schema import FEEDBACK, RECORDS

RATINGS = ("up", "down")


@dataclass(frozen=True, slots=True)
class FeedbackRow:
    """What one user thinks of one answer. `record_id` is the request id, `corrected` the answer as it should be."""

    record_id: str
    org: str
    user: str
    rating: str
    comment: str | None
    corrected: str | None
    created_at: float


class FeedbackTable:
    """The repository of feedback."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, row: FeedbackRow) -> bool:
        """Store an opinion over an earlier one of the same user; False when the org has no such record."""
        values = {name: storable(value) for name, value in asdict(row).items()}
        changed = {name: values[name] for name in ("rating", "comment", "corrected", "created_at")}
        owned = select(RECORDS.c.uid).where(RECORDS.c.id == values["record_id"], RECORDS.c.org == row.org)
        newest = owned.order_by(RECORDS.c.started_at.desc()).limit(1)
        async with self._database.transaction("durable") as connection:
            if (uid := await connection.scalar(newest)) is None:
                return False
            statement = self._database.insert(FEEDBACK).values(record_uid=uid, **values)
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["record_uid", "user"], set_=changed)
            )
            return True

    async def of(self, record_id: str) -> list[FeedbackRow]:
        """Every opinion on the calls with one request id, in the order of their users."""
        async with self._database.transaction("read") as connection:
            columns = [FEEDBACK.c[name] for name in FeedbackRow.__slots__]
            found = await connection.execute(
                select(*columns).where(FEEDBACK.c.record_id == record_id).order_by(FEEDBACK.c.user)
            )
            return [FeedbackRow(**mapping) for mapping in found.mappings()]

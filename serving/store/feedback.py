"""Feedback in SQL: one opinion per record and user, the last one wins; read back with the answers that it is about."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Double, Row, String, literal, select, tuple_

from serving.store.database import Database
from serving.store.records import PAGE, storable
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


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one user said of an answer."""

    rating: str
    corrected: str | None


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """A chat whose texts were kept, and what its users said of the answer, the latest opinion first.

    `prompt` is the text of all its messages, `card` the model that answered.
    """

    prompt: str
    answer: str
    card: str
    opinions: tuple[Opinion, ...]


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

    async def rated(
        self, begin: float, end: float, *, org: str | None = None, page: int = PAGE
    ) -> AsyncGenerator[RatedAnswer]:
        """The rated chats that began in a span and came to their end, with texts, newest first; of one org, or of all.

        No transaction stays open between two pages.
        """
        last = (end, "")
        while found := await self._page(begin, last, org=org, page=page):
            for _, rows in groupby(found, key=lambda row: row.uid):
                said = tuple(rows)
                opinions = tuple(Opinion(row.rating, row.corrected) for row in said)
                yield RatedAnswer(said[0].prompt_text, said[0].answer_text, said[0].served_model, opinions)
            last = (found[-1].started_at, found[-1].uid)

    async def _page(self, begin: float, last: tuple[float, str], *, org: str | None, page: int) -> Sequence[Row[Any]]:
        """Every opinion on the next records before a place, which is a start and a uid."""
        place = (RECORDS.c.started_at, RECORDS.c.uid)
        before = tuple_(literal(last[0], Double), literal(last[1], String))
        whole = (
            RECORDS.c.kind == "chat",
            RECORDS.c.status == 200,
            RECORDS.c.finish_reason == "stop",
            RECORDS.c.client_gone.is_(False),
            *(RECORDS.c[name].is_not(None) for name in ("prompt_text", "answer_text", "served_model")),
        )
        rated = select(FEEDBACK.c.record_uid).where(FEEDBACK.c.record_uid == RECORDS.c.uid).exists()
        mine = () if org is None else (RECORDS.c.org == org,)
        records = (
            select(*place, RECORDS.c.prompt_text, RECORDS.c.answer_text, RECORDS.c.served_model)
            .where(RECORDS.c.started_at >= begin, tuple_(*place) < before, *whole, rated, *mine)
            .order_by(*(column.desc() for column in place))
            .limit(page)
            .subquery()
        )
        opinions = (
            select(records, FEEDBACK.c.rating, FEEDBACK.c.corrected)
            .join(FEEDBACK, FEEDBACK.c.record_uid == records.c.uid)
            .order_by(records.c.started_at.desc(), records.c.uid.desc(), FEEDBACK.c.created_at.desc(), FEEDBACK.c.user)
        )
        async with self._database.transaction("read") as connection:
            return (await connection.execute(opinions)).all()

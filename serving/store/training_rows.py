"""Rated chats as training data wants them: with their messages, every opinion, and whether their org still allows it.

Selects by time, org, model and feature. Does not decide what teaches something: `finetune/data/from_records.py` does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Double, Row, String, literal, or_, select, tuple_

from finetune.data.rated import Opinion, RatedCall
from serving.store.database import Database
from serving.store.schema import FEEDBACK, ORGS, RECORDS

MODEL_COLUMNS = ("served_model", "adapter", "requested_model")
PAGE = 500  # rows hold texts


@dataclass(frozen=True, slots=True)
class Selection:
    """Calls that began in [begin, end), in epoch seconds. `model`: who answered, a card or an adapter, or its name."""

    begin: float
    end: float
    org: str | None = None
    model: str | None = None
    feature: str | None = None


class TrainingTable:
    """The repository of rated chats."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rated(self, wanted: Selection, *, page: int = PAGE) -> AsyncGenerator[RatedCall]:
        """The rated chats of a selection, newest first. No transaction stays open between two pages."""
        last = (wanted.end, "")
        while found := await self._page(wanted, last, page=page):
            for _, rows in groupby(found, key=lambda row: row.uid):
                yield _call(tuple(rows))
            last = (found[-1].started_at, found[-1].uid)

    async def _page(self, wanted: Selection, last: tuple[float, str], *, page: int) -> Sequence[Row[Any]]:
        """Every opinion on the next records before a place, which is a start and a uid."""
        place = (RECORDS.c.started_at, RECORDS.c.uid)
        before = tuple_(literal(last[0], Double), literal(last[1], String))
        rated = select(FEEDBACK.c.record_uid).where(FEEDBACK.c.record_uid == RECORDS.c.uid).exists()
        names = ("org", "feature", "cohort", "status", "finish_reason", "client_gone")
        texts = ("prompt_text", "prompt_messages", "answer_text")
        columns = [RECORDS.c[name] for name in (*names, *texts)]
        records = (
            select(*place, *columns)
            .where(RECORDS.c.kind == "chat", tuple_(*place) < before, rated, *_conditions(wanted))
            .order_by(*(column.desc() for column in place))
            .limit(page)
            .subquery()
        )
        opinions = (
            select(records, ORGS.c.keep_text, FEEDBACK.c.rating, FEEDBACK.c.corrected)
            .join(FEEDBACK, FEEDBACK.c.record_uid == records.c.uid)
            .outerjoin(ORGS, ORGS.c.name == records.c.org)
            .order_by(records.c.started_at.desc(), records.c.uid.desc(), FEEDBACK.c.created_at.desc(), FEEDBACK.c.user)
        )
        async with self._database.transaction("read") as connection:
            return (await connection.execute(opinions)).all()


def _conditions(wanted: Selection) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [RECORDS.c.started_at >= wanted.begin]
    if wanted.org is not None:
        conditions.append(RECORDS.c.org == wanted.org)
    if wanted.feature is not None:
        conditions.append(RECORDS.c.feature == wanted.feature)
    if wanted.model is not None:
        conditions.append(or_(*(RECORDS.c[name] == wanted.model for name in MODEL_COLUMNS)))
    return conditions


def _call(rows: tuple[Row[Any], ...]) -> RatedCall:
    """One call with its opinions; the texts of an org that keeps none any more end here."""
    row, keeps = rows[0], bool(rows[0].keep_text)
    return RatedCall(
        uid=row.uid,
        started_at=row.started_at,
        org=row.org,
        feature=row.feature,
        cohort=row.cohort,
        whole=row.status == 200 and row.finish_reason == "stop" and not row.client_gone,
        keeps_text=keeps,
        prompt=row.prompt_text if keeps else None,
        messages=row.prompt_messages if keeps else None,
        answer=row.answer_text if keeps else None,
        opinions=tuple(Opinion(one.rating, one.corrected if keeps else None) for one in rows),
    )

"""Records in SQL: written in batches, each uid once, read back as `CallRecord`.

Does not decide when a batch is written, or what happens while the database is down: the recorder does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Double, String, delete, func, literal, select, tuple_

from serving.store.database import Database
from serving.store.schema import FEEDBACK, RECORDS
from serving.telemetry.record import FIELDS, AttemptTrace, CallOutline, CallRecord, Decision, Trial, record_values

PAGE = 1000


class RecordTable:
    """The repository of records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, records: Sequence[CallRecord]) -> None:
        """Insert a batch; a uid that is there already stays as it is."""
        statement = self._database.insert(RECORDS).on_conflict_do_nothing(index_elements=["uid"])
        async with self._database.transaction("write") as connection:
            await connection.execute(statement, [record_to_row(record) for record in records])

    async def find(self, record_id: str) -> CallRecord | None:
        """The record of one call; the newest where a client has used its request id more than once."""
        async with self._database.transaction("read") as connection:
            found = await connection.execute(
                select(RECORDS).where(RECORDS.c.id == record_id).order_by(RECORDS.c.started_at.desc()).limit(1)
            )
            mapping = found.mappings().one_or_none()
            return None if mapping is None else record_from_row(mapping)

    async def count(self) -> int:
        """How many calls are on record."""
        async with self._database.transaction("read") as connection:
            return int(await connection.scalar(select(func.count()).select_from(RECORDS)) or 0)

    async def recent(self, limit: int = 100) -> list[CallRecord]:
        """The last calls, newest first."""
        async with self._database.transaction("read") as connection:
            found = await connection.execute(select(RECORDS).order_by(RECORDS.c.started_at.desc()).limit(limit))
            return [record_from_row(mapping) for mapping in found.mappings()]

    async def outlines(self, begin: float, end: float, *, page: int = PAGE) -> AsyncGenerator[CallOutline]:
        """The calls that began in a span, oldest first. No transaction stays open between two pages."""
        place = (RECORDS.c.started_at, RECORDS.c.uid)
        columns = [RECORDS.c[field.name] for field in fields(CallOutline)]
        query = select(*columns, RECORDS.c.uid).where(RECORDS.c.started_at < end).order_by(*place).limit(page)
        last = (begin, "")
        while True:
            after = tuple_(literal(last[0], Double), literal(last[1], String))
            async with self._database.transaction("read") as connection:
                found = (
                    await connection.execute(query.where(RECORDS.c.started_at >= last[0], tuple_(*place) > after))
                ).all()
            for *values, _ in found:
                yield CallOutline(*values)
            if len(found) < page:
                return
            last = (found[-1].started_at, found[-1].uid)

    async def tier_of_session(self, session: str, since: float) -> str | None:
        """The tier that a policy chose for the last call of a conversation, if there was one after this moment."""
        query = select(RECORDS.c.routed_tier).where(
            RECORDS.c.session == session, RECORDS.c.started_at > since, RECORDS.c.route_cause.is_(None)
        )
        async with self._database.transaction("read") as connection:
            found = await connection.scalar(query.order_by(RECORDS.c.started_at.desc()).limit(1))
            return None if found is None else str(found)

    async def decisions(self, version: str, policy: str, *, limit: int) -> list[Decision]:
        """The last calls that a version decided about under a policy, newest first."""
        columns = [RECORDS.c[field.name] for field in fields(Decision)]
        query = select(*columns).where(RECORDS.c.route_version == version, RECORDS.c.route_policy == policy)
        async with self._database.transaction("read") as connection:
            found = await connection.execute(query.order_by(RECORDS.c.started_at.desc()).limit(limit))
            return [Decision(*row) for row in found.all()]

    async def causes(self, since: float) -> dict[str | None, int]:
        """How many calls since this moment a trained model decided about (None), or was left out of, by cause."""
        asked = RECORDS.c.route_version.is_not(None) | RECORDS.c.route_cause.is_not(None)
        query = select(RECORDS.c.route_cause, func.count()).where(RECORDS.c.started_at > since, asked)
        async with self._database.transaction("read") as connection:
            found = await connection.execute(query.group_by(RECORDS.c.route_cause))
            return {cause: int(count) for cause, count in found.all()}

    async def scores(self, version: str, policy: str, *, limit: int) -> list[float]:
        """What a version said of the last prompts that it decided about under a policy, newest first."""
        decided = await self.decisions(version, policy, limit=limit)
        return [one.route_score for one in decided if one.route_score is not None]

    async def trials(self, org: str, adapter: str, *, since: float, limit: int) -> list[Trial]:
        """The last calls since a moment that came to an adapter's versions by its alias, newest first."""
        columns = [RECORDS.c[field.name] for field in fields(Trial)]
        query = select(*columns).where(
            RECORDS.c.org == org,
            RECORDS.c.adapter == adapter,
            RECORDS.c.started_at > since,
            RECORDS.c.cohort.in_(("live", "canary")),
        )
        async with self._database.transaction("read") as connection:
            found = await connection.execute(query.order_by(RECORDS.c.started_at.desc()).limit(limit))
            return [Trial(*row) for row in found.all()]

    async def delete_before(self, started_at: float, *, limit: int) -> int:
        """Delete at most `limit` of the oldest records before a moment, with their feedback; returns how many."""
        async with self._database.transaction("write") as connection:
            old = select(RECORDS.c.uid).where(RECORDS.c.started_at < started_at).order_by(RECORDS.c.started_at)
            uids = list(await connection.scalars(old.limit(limit)))
            if uids:
                await connection.execute(delete(FEEDBACK).where(FEEDBACK.c.record_uid.in_(uids)))
                await connection.execute(delete(RECORDS).where(RECORDS.c.uid.in_(uids)))
            return len(uids)


def record_to_row(record: CallRecord) -> dict[str, Any]:
    """A row that every database takes."""
    return {name: storable(value) for name, value in record_values(record).items()}


def record_from_row(row: Mapping[Any, Any]) -> CallRecord:
    """The way back. A row written by an older version lacks the newer fields; they get their defaults."""
    values = {name: row[name] for name in FIELDS if name in row}
    values["attempts"] = [AttemptTrace(**attempt) for attempt in values["attempts"]]
    return CallRecord(**values)


def storable(value: Any) -> Any:
    """The same value in text that every database takes: Postgres refuses NUL, no UTF-8 holds half a surrogate pair."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    return value

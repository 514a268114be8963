"""Fine-tuning jobs in SQL, with their events and checkpoints.

Owns the rows. A job's status changes in one transaction with the event that tells it, and only from the state in which
its writer saw it. Does not know what may be changed: `serving/tuning` does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Row, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from finetune.jobs import Phase, Status, Wanted
from serving.store.database import Database
from serving.store.files import FileChange
from serving.store.schema import MARKS, TUNING_CHECKPOINTS, TUNING_EVENTS, TUNING_JOBS

MARK = "tuning"


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job. `asked`: the request as it came; `order`: the hyperparameters that were chosen, once they are.

    `worker`: who trains it; `beat_at`: when that was last heard; `attempt`: how many workers it had; `trained_s`: their
    time in all; `adapter`: the name of what comes out, `adapter_version` its number; `report`: the gate's word. Times
    in epoch seconds.
    """

    id: str
    org: str
    user: str
    created_by: str
    created_at: float
    status: Status
    phase: Phase
    state_at: float
    base: str
    asked: Mapping[str, Any]
    training_file: str
    adapter: str
    validation_file: str | None = None
    wanted: Wanted | None = None
    order: Mapping[str, Any] | None = None
    adapter_version: int | None = None
    fine_tuned_model: str | None = None
    attempt: int = 0
    worker: Mapping[str, Any] | None = None
    beat_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    step: int = 0
    steps: int | None = None
    trained_tokens: int | None = None
    trained_s: float = 0.0
    error: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None
    result_files: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class EventRow:
    """What happened to a job. `type`: `message` or `metrics`; `id` grows, and is 0 before it is written."""

    job: str
    at: float
    message: str
    level: str = "info"
    type: str = "message"
    data: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A complete checkpoint; `digest`: of its files in the artifact store; `adapter_version`: as which it is served."""

    job: str
    step: int
    at: float
    digest: str
    metrics: Mapping[str, Any]
    adapter_version: int | None = None


class JobTable:
    """The repository of fine-tuning jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, job: str, *, org: str | None = None) -> JobRow | None:
        """One job; with `org`, only one of that org."""
        async with self._database.transaction("read") as connection:
            return await _found(connection, job, org=org)

    async def page(
        self, org: str, *, after: str | None, limit: int, metadata: Mapping[str, str] | None = None
    ) -> tuple[list[JobRow], bool] | None:
        """Jobs of an org, newest first, after that job, and whether there are more; None where it has no such job.

        `metadata`: only jobs whose request has these pairs; a name holds neither quote nor backslash.
        """
        pairs = (metadata or {}).items()
        told = TUNING_JOBS.c.asked["metadata"]
        query = select(TUNING_JOBS).where(
            TUNING_JOBS.c.org == org, *(told[name].as_string() == value for name, value in pairs)
        )
        async with self._database.transaction("read") as connection:
            if after is not None:
                place = await _found(connection, after, org=org)
                if place is None:
                    return None
                younger = (TUNING_JOBS.c.created_at == place.created_at) & (TUNING_JOBS.c.id < place.id)
                query = query.where((TUNING_JOBS.c.created_at < place.created_at) | younger)
            query = query.order_by(TUNING_JOBS.c.created_at.desc(), TUNING_JOBS.c.id.desc()).limit(limit + 1)
            rows = [_job(row) for row in await connection.execute(query)]
            return rows[:limit], len(rows) > limit

    async def speed(self, base: str) -> float | None:
        """Tokens/s of the newest training of a base that came to its end, over all that its workers did."""
        measured = (TUNING_JOBS.c.trained_tokens > 0) & (TUNING_JOBS.c.trained_s > 0)
        trained = measured & TUNING_JOBS.c.adapter_version.is_not(None)
        query = select(TUNING_JOBS.c.trained_tokens, TUNING_JOBS.c.trained_s).where(TUNING_JOBS.c.base == base, trained)
        async with self._database.transaction("read") as connection:
            row = (await connection.execute(query.order_by(TUNING_JOBS.c.created_at.desc()).limit(1))).first()
        return None if row is None else row.trained_tokens / row.trained_s

    async def in_status(self, *statuses: Status) -> list[JobRow]:
        """Every job in one of these, oldest first."""
        query = select(TUNING_JOBS).where(TUNING_JOBS.c.status.in_(statuses))
        async with self._database.transaction("read") as connection:
            rows = await connection.execute(query.order_by(TUNING_JOBS.c.created_at, TUNING_JOBS.c.id))
            return [_job(row) for row in rows]

    async def counts(self) -> dict[str, int]:
        """How many jobs there are in each status."""
        query = select(TUNING_JOBS.c.status, func.count()).group_by(TUNING_JOBS.c.status)
        async with self._database.transaction("read") as connection:
            return {status: int(count) for status, count in await connection.execute(query)}

    async def ended_before(self, at: float) -> list[JobRow]:
        """Jobs that ended before a moment and still have checkpoints."""
        kept = select(TUNING_CHECKPOINTS.c.job).where(TUNING_CHECKPOINTS.c.job == TUNING_JOBS.c.id).exists()
        query = select(TUNING_JOBS).where(TUNING_JOBS.c.finished_at < at, kept)
        async with self._database.transaction("read") as connection:
            return [_job(row) for row in await connection.execute(query)]

    async def events(
        self, job: str, *, after: int | None = None, limit: int, newest_first: bool = True
    ) -> list[EventRow]:
        """Events of a job. `after`: an event's id; older ones come after it when the newest are first."""
        column = TUNING_EVENTS.c.id
        query = select(TUNING_EVENTS).where(TUNING_EVENTS.c.job == job)
        if after is not None:
            query = query.where(column < after if newest_first else column > after)
        query = query.order_by(column.desc() if newest_first else column).limit(limit)
        async with self._database.transaction("read") as connection:
            return [EventRow(**dict(row._mapping)) for row in await connection.execute(query)]

    async def checkpoints(self, job: str) -> list[CheckpointRow]:
        """Complete checkpoints, newest first."""
        async with self._database.transaction("read") as connection:
            return await _checkpoints(connection, job)

    async def kept(self) -> dict[str, set[str]]:
        """Every job there is, and the digests of its checkpoints."""
        both = TUNING_JOBS.outerjoin(TUNING_CHECKPOINTS, TUNING_CHECKPOINTS.c.job == TUNING_JOBS.c.id)
        query = select(TUNING_JOBS.c.id, TUNING_CHECKPOINTS.c.digest).select_from(both)
        found: dict[str, set[str]] = {}
        async with self._database.transaction("read") as connection:
            for job, digest in await connection.execute(query):
                found.setdefault(job, set()).update(() if digest is None else (digest,))
        return found

    async def uses(self, file: str) -> list[str]:
        """The jobs that have not ended and read this file."""
        async with self._database.transaction("read") as connection:
            return await _users(connection, file)

    async def beat(self, job: str, *, attempt: int, now: float, values: Mapping[str, Any]) -> JobRow | None:
        """The worker of an attempt lives, and how far it is; the job as it is now, None when it is another's."""
        mine = (TUNING_JOBS.c.id == job) & (TUNING_JOBS.c.attempt == attempt) & (TUNING_JOBS.c.status == "running")
        async with self._database.transaction("write") as connection:
            told = await connection.execute(update(TUNING_JOBS).where(mine).values(beat_at=now, **values))
            return await _found(connection, job) if told.rowcount else None

    async def tell(self, rows: Sequence[EventRow]) -> None:
        """Write events."""
        if not rows:
            return
        async with self._database.transaction("write") as connection:
            await connection.execute(TUNING_EVENTS.insert(), [_values(row) for row in rows])

    @asynccontextmanager
    async def changing(self) -> AsyncGenerator[JobChange]:
        """A change: all of what is done in the block, or, when it raises, nothing. One at a time, of all processes."""
        first = self._database.insert(MARKS).values(name=MARK, value=1)
        grown = first.on_conflict_do_update(index_elements=["name"], set_={"value": MARKS.c.value + 1})
        async with self._database.transaction("durable") as connection:
            await connection.execute(grown)
            yield JobChange(connection, self._database)


class JobChange:
    """Reads and writes inside one transaction; nobody else changes a job's status meanwhile. `files`: files of the same
    transaction, so that none goes while a job that reads it is made.
    """

    def __init__(self, connection: AsyncConnection, database: Database) -> None:
        self._connection = connection
        self._database = database
        self.files = FileChange(connection, database)

    async def find(self, job: str, *, org: str | None = None) -> JobRow | None:
        """One job. Its worker's next heartbeat waits until the change is over, so that `put` undoes none."""
        return await _found(self._connection, job, org=org, held=True)

    async def uses(self, file: str) -> list[str]:
        """The jobs that have not ended and read this file."""
        return await _users(self._connection, file)

    async def count(self, org: str, *statuses: Status) -> int:
        """How many jobs of an org are in one of these."""
        query = select(func.count()).where(TUNING_JOBS.c.org == org, TUNING_JOBS.c.status.in_(statuses))
        return int(await self._connection.scalar(query) or 0)

    async def bases_of(self, org: str, *, adapter: str) -> list[str]:
        """The bases of the jobs of an org that have not ended and will make a version of this adapter."""
        return await bases_in_training(self._connection, org, adapter=adapter)

    async def put(self, row: JobRow) -> None:
        """A new job, or its new state."""
        values = {**asdict(row), "result_files": list(row.result_files)}
        statement = self._database.insert(TUNING_JOBS).values(values)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))

    async def tell(self, row: EventRow) -> None:
        """Write an event."""
        await self._connection.execute(TUNING_EVENTS.insert().values(_values(row)))

    async def put_checkpoint(self, row: CheckpointRow) -> None:
        """A new checkpoint, or that it is served now."""
        values = asdict(row)
        statement = self._database.insert(TUNING_CHECKPOINTS).values(values)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["job", "step"], set_=values))

    async def checkpoints(self, job: str) -> list[CheckpointRow]:
        """Complete checkpoints, newest first."""
        return await _checkpoints(self._connection, job)

    async def drop_metrics(self, job: str) -> None:
        """Forget the figures of a job's steps; what was said of it stays."""
        mine = (TUNING_EVENTS.c.job == job) & (TUNING_EVENTS.c.type == "metrics")
        await self._connection.execute(delete(TUNING_EVENTS).where(mine))

    async def drop_checkpoints(self, job: str, steps: Sequence[int] | None = None) -> None:
        """Forget a job's checkpoints; with `steps`, those alone."""
        query = delete(TUNING_CHECKPOINTS).where(TUNING_CHECKPOINTS.c.job == job)
        if steps is not None:
            query = query.where(TUNING_CHECKPOINTS.c.step.in_(steps))
        await self._connection.execute(query)


async def _found(connection: AsyncConnection, job: str, *, org: str | None = None, held: bool = False) -> JobRow | None:
    query = select(TUNING_JOBS).where(TUNING_JOBS.c.id == job)
    if held:
        query = query.with_for_update()
    if org is not None:
        query = query.where(TUNING_JOBS.c.org == org)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _job(row)


async def _users(connection: AsyncConnection, file: str) -> list[str]:
    """The gate's files are named in the request alone."""
    judged = [TUNING_JOBS.c.asked["penstock"][name].as_string() for name in ("golden_file", "regression_file")]
    reads = or_(*(column == file for column in (TUNING_JOBS.c.training_file, TUNING_JOBS.c.validation_file, *judged)))
    open_ = TUNING_JOBS.c.finished_at.is_(None)
    return list(await connection.scalars(select(TUNING_JOBS.c.id).where(reads, open_)))


async def bases_in_training(connection: AsyncConnection, org: str, *, adapter: str) -> list[str]:
    """The bases of the jobs of an org that have not ended and will make a version of this adapter."""
    open_ = TUNING_JOBS.c.finished_at.is_(None)
    query = select(TUNING_JOBS.c.base).where(TUNING_JOBS.c.org == org, TUNING_JOBS.c.adapter == adapter, open_)
    return list(await connection.scalars(query.distinct()))


async def _checkpoints(connection: AsyncConnection, job: str) -> list[CheckpointRow]:
    query = select(TUNING_CHECKPOINTS).where(TUNING_CHECKPOINTS.c.job == job)
    rows = await connection.execute(query.order_by(TUNING_CHECKPOINTS.c.step.desc()))
    return [CheckpointRow(**dict(row._mapping)) for row in rows]


def _job(row: Row[Any]) -> JobRow:
    return JobRow(**{**row._mapping, "result_files": tuple(row.result_files)})


def _values(row: EventRow) -> dict[str, Any]:
    values = asdict(row)
    del values["id"]
    return values

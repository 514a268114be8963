"""The recorder: takes the record of every finished call and sees that it becomes exactly one row.

`finish` never waits: it counts and queues. A writer puts batches into the database and into the log, off the path of
the caller's next request; while the database is down they go to the spool on local disk and are replayed, by id, once
it is back. Does not fill records: the pipeline does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from types import TracebackType
from typing import ClassVar, Self

import structlog

from models.clock import Clock
from models.errors import InvalidRequest, NotFound, PenstockError
from models.types import Principal
from serving.periodic import Periodic
from serving.store.database import StoreDown, StoreRefused
from serving.store.feedback import RATINGS, FeedbackRow
from serving.store.store import Store
from serving.telemetry.log import log_call
from serving.telemetry.metrics import Metrics
from serving.telemetry.record import CallRecord
from serving.telemetry.spool import Spool, spooled_records

BATCH = 200
LINES_AT_ONCE = 16
RETRY_S = 1.0
ADOPT_S = 60.0


class Recorder:
    """`async with Recorder(…) as recorder`; leaving the block puts everything into the database or the spool."""

    queue_limit: ClassVar[int] = 20_000

    def __init__(
        self, store: Store, spool: Spool, *, metrics: Metrics, clock: Clock, flush_interval_s: float = 0.05
    ) -> None:
        self._store = store
        self._spool = spool
        self._metrics = metrics
        self._clock = clock
        self._interval_s = flush_interval_s
        self._queue: deque[CallRecord] = deque()
        self._filled, self._full = asyncio.Event(), asyncio.Event()
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._adopter = Periodic(self.adopt, every_s=ADOPT_S)
        self._log = structlog.get_logger()

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write_for_ever())
        await self._adopter.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._adopter.__aexit__(kind, error, trace)
        await self.aclose()

    def begin(self, record: CallRecord) -> None:
        """A call has arrived; it counts as running until `finish`."""
        self._metrics.started(record)

    def finish(self, record: CallRecord) -> None:
        """Take the record of a call that has ended; nobody changes it afterwards."""
        self._metrics.finished(record)
        if self._writer is None:
            log_call(record)
            self._last_resort([record])
        elif len(self._queue) >= self.queue_limit:
            log_call(record)
            self._drop([record], "the queue is full")
        else:
            self._queue.append(record)
            self._metrics.records_queued.set(len(self._queue))
            self._filled.set()
            if len(self._queue) >= BATCH:
                self._full.set()

    async def flush(self) -> None:
        """Put everything queued until now into the database, or into the spool while the database is down."""
        async with self._writing:
            if self._spool.pending:
                await self._replay()
            left = len(self._queue)
            while left > 0:
                batch = list(islice(self._queue, min(BATCH, left)))
                await self._keep(batch)
                await self._log_first(len(batch))
                left -= len(batch)
                self._metrics.records_queued.set(len(self._queue))

    async def feedback(
        self, request_id: str, caller: Principal, *, rating: str, comment: str | None, corrected: str | None
    ) -> None:
        """Join an opinion to the record of a call of the caller's org; the last one of a user counts."""
        if rating not in RATINGS:
            raise InvalidRequest(f"rating must be one of {', '.join(RATINGS)}.", param="rating")
        row = FeedbackRow(request_id, caller.org, caller.user, rating, comment, corrected, self._clock.now())
        if await self._store.feedback.put(row):
            return
        # The answer may have reached the client before its record reached the database, through any gateway.
        await self.flush()
        for wait_s in (0.0, 4 * self._interval_s):
            await asyncio.sleep(wait_s)
            if await self._store.feedback.put(row):
                return
        raise NotFound("No such request.", param="request_id")

    async def adopt(self) -> None:
        """Replay what dead processes have left in the spool folder."""
        with self._spool.orphans() as paths:
            for path in paths:
                await self._insert_all(spooled_records(path))
                path.unlink()

    async def aclose(self) -> None:
        """Stop the writer and bring the rest to safety. A record finished after this goes straight to the spool."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
        try:
            await self.flush()
        except (PenstockError, OSError) as error:
            lost = list(self._queue)
            await self._log_first(len(lost))
            self._drop(lost, str(error))
        self._spool.release()

    async def _write_for_ever(self) -> None:
        while True:
            if not self._spool.pending:
                await self._filled.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S if self._spool.pending else self._interval_s):
                    await self._full.wait()
            self._filled.clear()
            self._full.clear()
            try:
                await self.flush()
            except (PenstockError, OSError) as error:  # neither database nor disk: what is queued stays queued
                self._log.error("records_wait", queued=len(self._queue), error=str(error))
                self._filled.set()
                await asyncio.sleep(RETRY_S)

    async def _log_first(self, count: int) -> None:
        """Log so many of the queue and let them go. A log that takes no line must not hold up the records."""
        for number in range(count):
            record = self._queue.popleft()
            with suppress(Exception):
                log_call(record)
            if number % LINES_AT_ONCE == LINES_AT_ONCE - 1:
                await asyncio.sleep(0)  # the streams have their turn

    async def _keep(self, batch: Sequence[CallRecord]) -> None:
        if not self._spool.pending:
            try:
                await self._insert(batch)
                return
            except StoreDown as error:
                self._log.warning("records_spooled", error=str(error))
        await asyncio.to_thread(self._spool.append, batch)
        self._metrics.records_spooled.inc(len(batch))

    async def _replay(self) -> None:
        pending = self._spool.pending
        with suppress(StoreDown):
            await self._insert_all(self._spool.read())
            self._spool.clear(pending)
            self._log.info("records_replayed")

    async def _insert_all(self, records: Iterable[CallRecord]) -> None:
        for batch in _batches(records):
            await self._insert(batch)

    async def _insert(self, batch: Sequence[CallRecord]) -> None:
        try:
            await self._store.records.add(batch)
            self._metrics.records_written.inc(len(batch))
        except StoreRefused as error:
            if len(batch) == 1:
                self._drop(batch, str(error))
                return
            for record in batch:  # one bad row must not take the others with it
                await self._insert([record])

    def _last_resort(self, records: Sequence[CallRecord]) -> None:
        try:
            self._spool.append(records)
            self._metrics.records_spooled.inc(len(records))
        except OSError as error:
            self._drop(records, str(error))

    def _drop(self, records: Sequence[CallRecord], reason: str) -> None:
        self._metrics.records_dropped.inc(len(records))
        self._log.error("records_dropped", ids=[record.id for record in records], reason=reason)


def _batches(records: Iterable[CallRecord]) -> Iterator[list[CallRecord]]:
    iterator = iter(records)
    while batch := list(islice(iterator, BATCH)):
        yield batch

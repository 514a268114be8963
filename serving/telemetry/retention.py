"""Retention: records older than the stack may keep are deleted, a few at a time so that nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from models.clock import Clock
from serving.periodic import Periodic
from serving.store.records import RecordTable

BATCH = 500
PAUSE_S = 0.05
EVERY_S = 3600.0
DAY_S = 86_400


class Retention:
    """Deletes what is older than `days`. Several gateways may do it at once; each row goes once."""

    def __init__(self, records: RecordTable, *, days: int, clock: Clock) -> None:
        self._records = records
        self._days = days
        self._clock = clock

    @asynccontextmanager
    async def open(self, *, every_s: float = EVERY_S) -> AsyncGenerator[Retention]:
        """Sweep again and again while the block is open."""
        async with Periodic(self.sweep, every_s=every_s):
            yield self

    async def sweep(self) -> int:
        """Delete everything that is too old now; returns how many records."""
        deleted = 0
        limit = self._clock.now() - self._days * DAY_S
        while batch := await self._records.delete_before(limit, limit=BATCH):
            deleted += batch
            await asyncio.sleep(PAUSE_S)
        return deleted

"""Retention: old records go, young ones stay."""

from typing import Any

from serving.store.store import Store
from serving.telemetry.record import CallRecord
from serving.telemetry.retention import BATCH, DAY_S, Retention


async def test_records_older_than_the_limit_are_deleted_whatever_their_number(store: Store, clock: Any) -> None:
    old = [CallRecord(f"old-{n}", clock.at - 2 * DAY_S - n, "chat") for n in range(BATCH + 30)]
    young = [CallRecord(f"young-{n}", clock.at - n, "chat") for n in range(3)]
    await store.records.add(old + young)
    retention = Retention(store.records, days=2, clock=clock)
    assert await retention.sweep() == BATCH + 29  # the one that is two days old to the second stays
    assert await retention.sweep() == 0
    assert await store.records.count() == 4

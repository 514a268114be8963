"""Migrating takes the time it needs, and waits for another migration as long on Postgres as on SQLite."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from models.errors import ConfigurationError
from serving.store.database import PATIENCE_S, Database, StoreDown
from serving.store.migration import ADVISORY_LOCK, migrate
from serving.store.store import Store


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Database]:
    database = Database(url, **options)
    try:
        yield database
    finally:
        await database.engine.dispose()


@asynccontextmanager
async def migrating(url: str) -> AsyncIterator[None]:
    """Another process in the middle of a migration of Postgres."""
    async with connected(url) as database, database.transaction("durable") as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": ADVISORY_LOCK})
        yield


async def test_a_second_migration_waits_longer_than_a_statement_may_take_and_then_succeeds(postgres: Any) -> None:
    url, started = postgres.empty_url(), time.perf_counter()

    async def second() -> int:
        async with Store.open(url) as store:
            return await store.records.count()

    async with migrating(url):
        waiting = asyncio.create_task(second())
        await asyncio.sleep(PATIENCE_S + 1)
        assert not waiting.done()
    assert await waiting == 0
    assert time.perf_counter() - started > PATIENCE_S + 1


async def test_a_migration_that_waits_too_long_for_another_is_refused_in_a_sentence(postgres: Any) -> None:
    async with migrating(url := postgres.empty_url()), connected(url) as database:
        with pytest.raises(ConfigurationError, match="Another process has been migrating the store for too long"):
            await migrate(database, lock_wait_s=0.2)


async def test_only_the_statements_of_a_migration_may_take_their_time(postgres: Any) -> None:
    async with connected(postgres.empty_url(), patience_s=1.5) as database:
        async with database.unhurried() as unhurried:
            await sleep_in(unhurried, seconds=2.5)
        with pytest.raises(StoreDown):
            await sleep_in(database, seconds=2.5)


async def sleep_in(database: Database, *, seconds: float) -> None:
    async with database.transaction("write") as connection:
        await connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})

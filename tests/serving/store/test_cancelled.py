"""A statement that nobody waits for any more: its connection is closed, and nothing waits for that for ever."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from serving.store.store import Store


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


async def cancelled_twice(store: Store, file: Path) -> None:
    """A write that waits for the file's lock is cancelled, and once more while its connection is closed."""
    with locked(file):
        writing = asyncio.create_task(store.gateways.publish("g1", "a 1", now=5.0))
        await asyncio.sleep(0.1)
        for _ in range(2):
            writing.cancel()
            await asyncio.sleep(0.02)
        with suppress(asyncio.CancelledError):
            await writing
        assert writing.cancelled()


async def test_a_statement_that_was_cancelled_twice_leaves_no_task_behind(tmp_path: Path) -> None:
    file = tmp_path / "penstock.db"
    async with Store.open(f"sqlite+aiosqlite:///{file}") as store:
        before = asyncio.all_tasks()
        await cancelled_twice(store, file)
        async with asyncio.timeout(20):
            while left := asyncio.all_tasks() - before:
                await asyncio.wait(left)
        await store.gateways.publish("g1", "a 2", now=6.0)
        assert await store.gateways.others("other", since=0.0) == ["a 2"]


def test_an_event_loop_ends_while_such_a_connection_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "penstock.db"

    async def work() -> None:
        async with Store.open(f"sqlite+aiosqlite:///{file}") as store:
            await cancelled_twice(store, file)

    thread = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()

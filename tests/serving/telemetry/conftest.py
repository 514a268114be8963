"""What the tests of the recorder share."""

import io
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import text

from serving.store.store import Store
from serving.telemetry.log import configure_log


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """The log of this test, as it would be written."""
    stream = io.StringIO()
    configure_log(stream=stream)
    yield stream
    structlog.reset_defaults()


def figure(text: str, name: str) -> float:
    """The value of a sample without labels."""
    values = [float(line.split()[-1]) for line in text.splitlines() if line.split(" ")[0] == name]
    assert len(values) == 1, name
    return values[0]


@pytest.fixture
def read_figure() -> Any:
    return figure


@pytest.fixture
def damaged(store: Store) -> AbstractAsyncContextManager[None]:
    """A block in which the database is there and works for nobody: a read-only Postgres, a corrupt SQLite file."""
    sqlite = store.database.engine.dialect.name == "sqlite"
    return corrupt_file(store) if sqlite else read_only_server(store)


@asynccontextmanager
async def corrupt_file(store: Store) -> AsyncIterator[None]:
    await store.database.engine.dispose()  # the last connection puts everything into the one file
    with without_header(Path(str(store.database.engine.url.database))):
        yield


@contextmanager
def without_header(path: Path) -> Iterator[None]:
    with path.open("r+b", buffering=0) as file:
        header = file.read(100)
        file.seek(0)
        file.write(bytes(100))
        yield
        file.seek(0)
        file.write(header)


@asynccontextmanager
async def read_only_server(store: Store) -> AsyncIterator[None]:
    await run(store, "ALTER DATABASE postgres SET default_transaction_read_only = on")
    try:
        yield
    finally:
        await run(store, "SET TRANSACTION READ WRITE", "ALTER DATABASE postgres RESET default_transaction_read_only")


async def run(store: Store, *statements: str) -> None:
    """Run them in one transaction; what they set holds for connections opened afterwards, so none stays open."""
    async with store.database.transaction("durable") as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await store.database.engine.dispose()

"""The database behind the store: connections, transactions, and whose fault a failure is: the values' or its own.

Knows the two dialects, SQLite (aiosqlite, WAL) and Postgres (asyncpg). Runs no query of its own: the repositories do.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import aiosqlite
import orjson
from sqlalchemy import URL, Connection, Table, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from models.errors import ConfigurationError, PenstockError, Unavailable

Transaction = Literal["none", "read", "write", "durable"]

DRIVERS = ("sqlite+aiosqlite", "postgresql+asyncpg")
PATIENCE_S = 5.0
# The SQLSTATE classes that speak of the values: data exception and integrity violation. Every other one speaks of the
# database or of our statement, and somebody may put that right: a grant, a read-only server, a full or broken disk.
VALUE_STATES = ("22", "23")

BEGIN = {
    "none": (),
    "read": ("BEGIN",),
    "write": ("PRAGMA synchronous=NORMAL", "BEGIN IMMEDIATE"),
    "durable": ("PRAGMA synchronous=FULL", "BEGIN IMMEDIATE"),
}


class StoreDown(Unavailable):
    """The database is gone, locked, read-only, broken or too slow; nothing of the transaction happened."""

    default_code = "accounting_unavailable"


class StoreRefused(PenstockError):
    """The database does not take these values; trying again cannot help."""


class Database:
    """One engine and its transactions. `patience_s` bounds each wait: for a lock, a connection, a statement.

    `ends_statements=False`: a statement, once begun, may take as long as it needs; SQLite's always may.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S, ends_statements: bool = True) -> None:
        self._patience_s = patience_s
        parsed = _parsed(url)
        try:
            if parsed.get_backend_name() == "sqlite":
                self.engine = _sqlite(parsed, patience_s)
            else:
                self.engine = _postgres(parsed, patience_s, statement_s=patience_s if ends_statements else None)
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"store.url: the driver {error.name!r} is not installed. Install it, or unset the URL."
            ) from error

    @asynccontextmanager
    async def unhurried(self) -> AsyncGenerator[Database]:
        """The same database for statements that take as long as they need, as those of a migration may."""
        if self.engine.dialect.name == "sqlite":
            yield self
            return
        url = self.engine.url.render_as_string(hide_password=False)
        unhurried = Database(url, patience_s=self._patience_s, ends_statements=False)
        try:
            yield unhurried
        finally:
            await unhurried.engine.dispose()

    @asynccontextmanager
    async def transaction(self, kind: Transaction) -> AsyncGenerator[AsyncConnection]:
        """One transaction: a `write` may be lost when the machine (not the process) dies, a `durable` one may not.

        `none` begins none, for what SQLite does outside of transactions alone. All of a `read` sees one moment.
        """
        options: dict[str, Any] = {"transaction": kind}
        if kind == "read" and self.engine.dialect.name != "sqlite":  # there it is so by itself
            options["isolation_level"] = "REPEATABLE READ"
        try:
            connection = await self.engine.execution_options(**options).connect()
        except Exception as error:
            raise self._down(error) from error
        try:
            async with aclosing(connection), connection.begin():
                yield connection
        except (SQLAlchemyError, OSError, ValueError, TypeError, OverflowError) as error:
            raise (_refused(error) if _is_about_values(error) else self._down(error)) from error

    def insert(self, table: Table) -> Any:
        """The dialect's own INSERT, which knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
        return sqlite.insert(table) if self.engine.dialect.name == "sqlite" else postgresql.insert(table)

    def _down(self, error: Exception) -> StoreDown:
        """The detail names the file of SQLite: of several stacks on a machine, somebody has to find the broken one."""
        cause = _cause(error)
        where = f"{self.engine.url.database!r}: " if self.engine.dialect.name == "sqlite" else ""
        detail = f"{where}{type(cause).__name__}: {cause}"
        return StoreDown("The accounting database cannot be used now.", detail=detail, retry_after_s=2)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError("store.url is not a database URL.") from None
    if parsed.drivername not in DRIVERS:
        raise ConfigurationError(f"store.url: {parsed.drivername!r} is not one of {', '.join(DRIVERS)}.")
    return parsed


def _postgres(url: URL, patience_s: float, *, statement_s: float | None) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=4,
        max_overflow=4,
        pool_timeout=patience_s,
        pool_pre_ping=True,
        hide_parameters=True,
        json_serializer=_json,
        connect_args={"timeout": patience_s, "command_timeout": statement_s},
    )


def _sqlite(url: URL, patience_s: float) -> AsyncEngine:
    if url.database in (None, "", ":memory:"):
        raise ConfigurationError("store.url: SQLite needs a file, because several processes share the store.")
    path = Path(str(url.database))
    if not path.parent.is_dir():
        raise ConfigurationError("store.url: the folder of the SQLite file does not exist.", detail=str(path))
    path.touch(mode=0o600)
    engine = create_async_engine(
        url,
        pool_size=4,
        max_overflow=4,
        pool_timeout=patience_s,
        hide_parameters=True,
        json_serializer=_json,
        connect_args={"async_creator_fn": _SqliteConnection, "timeout": patience_s, "isolation_level": None},
    )
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


class _SqliteConnection(aiosqlite.Connection):
    """One whose thread is asked to stop once. A thread that has stopped answers nobody, and `close` waits for it.

    SQLAlchemy asks twice where a statement is cancelled and cancelled again while its connection is closed: such a
    close waited for ever, and so did the end of the event loop.
    """

    def __init__(self, database: str, **options: Any) -> None:
        super().__init__(partial(sqlite3.connect, database, **options), iter_chunk_size=64)
        self._thread.daemon = True  # the end of a process waits for no statement
        self._asked_to_stop = False
        self._stopped: asyncio.Future[Any] | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        if not self._asked_to_stop:
            self._asked_to_stop = True
            self._stopped = super().stop()
        return self._stopped


def _begin(connection: Connection) -> None:
    """BEGIN ourselves: Python's sqlite3 opens transactions late and never around DDL; a writer locks at its start."""
    kind = connection.get_execution_options().get("transaction", "read")
    for statement in BEGIN[kind]:
        connection.exec_driver_sql(statement)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _is_about_values(error: Exception) -> bool:
    """A mistake here loses rows for good (refused) or holds them back until somebody looks (down): in doubt, down."""
    if isinstance(error, (IntegrityError, DataError)):
        return True
    cause = _cause(error)
    state = getattr(cause, "sqlstate", None) or ""
    return state.startswith(VALUE_STATES) or isinstance(cause, (ValueError, TypeError, OverflowError))


def _cause(error: Exception) -> BaseException:
    """The driver's own error, or ours; SQLAlchemy wraps both."""
    return (isinstance(error, StatementError) and error.orig) or error


def _refused(error: Exception) -> StoreRefused:
    """The cause's type only: its text may quote the values."""
    return StoreRefused("The store refused a row.", detail=type(_cause(error)).__name__)

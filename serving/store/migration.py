"""Bringing a database's schema up to date: forward only, one process at a time, all or nothing.

Owns the lock and the refusal of a schema newer than the code. Does not own the changes: one file each in `migrations/`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from models.errors import ConfigurationError
from serving.store.database import Database

FOLDER = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 7_305_118_001  # any number that nothing else in the same Postgres database uses
LOCK_WAIT_S = 60.0
LOCK_NOT_AVAILABLE = "55P03"  # the SQLSTATE of Postgres


async def migrate(database: Database, *, lock_wait_s: float = LOCK_WAIT_S) -> None:
    """Upgrade to the newest schema. Processes that start together wait for the first one and find nothing to do."""
    if database.engine.dialect.name == "sqlite":
        async with _file_lock(Path(f"{database.engine.url.database}.lock"), lock_wait_s):
            await _switch_to_wal(database)
            async with database.transaction("durable") as connection:
                await connection.run_sync(upgrade)
    else:
        async with database.transaction("durable") as connection:
            await _advisory_lock(connection, lock_wait_s)
            await connection.run_sync(upgrade)


def upgrade(connection: Connection, folder: Path = FOLDER) -> None:
    """Apply what is missing, inside the caller's transaction."""
    script = ScriptDirectory(str(folder), version_locations=[str(folder)])
    # `_upgrade_revs` is what alembic's own `upgrade` calls; the public way needs an env.py that works at import.
    context = MigrationContext.configure(
        connection, opts={"fn": lambda revision, _: script._upgrade_revs("head", revision)}
    )
    _refuse_unknown(script, context.get_current_heads())
    with Operations.context(context):
        context.run_migrations()


def _refuse_unknown(script: ScriptDirectory, heads: tuple[str, ...]) -> None:
    known = {revision.revision for revision in script.walk_revisions()}
    for head in heads:
        if head not in known:
            raise ConfigurationError(
                f"The store's schema is at revision {head!r}, newer than this version of Penstock knows. "
                "Start the newer version again, or restore a backup made before it ran."
            )


async def _switch_to_wal(database: Database) -> None:
    """WAL is a property of the file. Switching needs the file alone, so it happens here, under the lock."""
    async with database.transaction("none") as connection:
        await connection.exec_driver_sql("PRAGMA journal_mode=WAL")


async def _advisory_lock(connection: AsyncConnection, wait_s: float) -> None:
    """Held until the transaction ends. The limit stays for the tables' own locks, which the migration takes next."""
    await connection.execute(
        text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": f"{round(wait_s * 1000)}ms"}
    )
    try:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": ADVISORY_LOCK})
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise _too_long(f"advisory lock {ADVISORY_LOCK}") from error


@asynccontextmanager
async def _file_lock(path: Path, wait_s: float) -> AsyncGenerator[None]:
    """An exclusive lock that the kernel frees when its holder dies."""
    deadline = asyncio.get_running_loop().time() + wait_s
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try_lock(descriptor):
            if asyncio.get_running_loop().time() > deadline:
                raise _too_long(f"lock {path}")
            await asyncio.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _too_long(lock: str) -> ConfigurationError:
    return ConfigurationError("Another process has been migrating the store for too long.", detail=lock)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

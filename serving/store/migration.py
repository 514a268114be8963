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

from models.errors import ConfigurationError
from serving.store.database import Database

FOLDER = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 7_305_118_001  # any number that nothing else in the same Postgres database uses
LOCK_WAIT_S = 60.0


async def migrate(database: Database) -> None:
    """Upgrade to the newest schema. Processes that start together wait for the first one and find nothing to do."""
    if database.engine.dialect.name == "sqlite":
        async with _file_lock(Path(f"{database.engine.url.database}.lock")):
            await _switch_to_wal(database)
            await _upgrade(database)
    else:
        await _upgrade(database)


async def _upgrade(database: Database) -> None:
    async with database.transaction("durable") as connection:
        if connection.dialect.name == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": ADVISORY_LOCK})
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
    async with database.engine.execution_options(transaction="none").connect() as connection:
        await connection.exec_driver_sql("PRAGMA journal_mode=WAL")


@asynccontextmanager
async def _file_lock(path: Path) -> AsyncGenerator[None]:
    """An exclusive lock that the kernel frees when its holder dies."""
    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try_lock(descriptor):
            if asyncio.get_running_loop().time() > deadline:
                raise ConfigurationError(
                    "Another process has been migrating the store for too long.", detail=f"lock {path}"
                )
            await asyncio.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

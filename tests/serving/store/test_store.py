"""Opening a store: migrations, locks, refusals, and what counts as down."""

import asyncio
import multiprocessing
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, event, inspect, text

from models.clock import SystemClock
from models.errors import ConfigurationError, PenstockError
from serving.store.database import Database, StoreDown
from serving.store.migration import FOLDER, upgrade
from serving.store.schema import METADATA
from serving.store.store import Store
from serving.tenancy.keys import KeyAdmin

BROKEN = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "9999", "0005"
def upgrade():
    op.create_table("half", sa.Column("id", sa.Integer, primary_key=True))
    op.execute(sa.text("INSERT INTO nowhere VALUES (1)"))
"""


async def tables(store: Store) -> set[str]:
    async with store.database.transaction("read") as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_migrations_lead_to_the_schema_in_the_code(store: Store) -> None:
    async with store.database.transaction("read") as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), METADATA)
        )
    assert differences == []
    assert {"keys", "records", "feedback"} <= await tables(store)


async def test_a_second_start_finds_its_rows_again(store_url: str) -> None:
    async with Store.open(store_url) as store:
        await store.gateways.publish("g1", "a 1", now=5.0)
    async with Store.open(store_url) as store:
        assert await store.gateways.others("other", since=0.0) == ["a 1"]


def start_once(url: str, together: Any, results: Any) -> None:
    """One gateway process starting: says how often it made the tables, and the first key if it made one."""
    created: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def _(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        created.extend([statement] if "CREATE TABLE records" in statement else [])

    async def start() -> str | None:
        async with Store.open(url) as store:
            return await KeyAdmin(store.keys, clock=SystemClock()).create_first()

    together.wait(10)
    secret = asyncio.run(start())
    results.put((len(created), secret))


def test_four_processes_that_start_at_once_migrate_once_and_make_one_first_key(store_url: str) -> None:
    fork = multiprocessing.get_context("fork")
    together, results = fork.Barrier(4), fork.Queue()
    starters = [fork.Process(target=start_once, args=(store_url, together, results)) for _ in range(4)]
    for starter in starters:
        starter.start()
    outcomes = [results.get(timeout=30) for _ in starters]
    for starter in starters:
        starter.join()
    assert [starter.exitcode for starter in starters] == [0, 0, 0, 0]
    assert sum(created for created, _ in outcomes) == 1
    assert len([secret for _, secret in outcomes if secret]) == 1


async def test_a_schema_newer_than_the_code_is_refused(store_url: str) -> None:
    async with Store.open(store_url) as store, store.database.transaction("durable") as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer than this version of Penstock knows"):
        async with Store.open(store_url):
            pass


async def test_a_migration_that_fails_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    for source in FOLDER.glob("r*.py"):
        (tmp_path / source.name).write_text(source.read_text())
    (tmp_path / "r0002_broken.py").write_text(BROKEN)
    with pytest.raises(PenstockError):
        async with store.database.transaction("durable") as connection:
            await connection.run_sync(upgrade, tmp_path)
    assert "half" not in await tables(store)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nonsense", "not a database URL"),
        ("mysql+aiomysql://localhost/x", "is not one of"),
        ("postgresql://localhost/x", "is not one of"),
        ("sqlite+aiosqlite://", "needs a file"),
        ("sqlite+aiosqlite:////no/such/folder/penstock.db", "folder of the SQLite file does not exist"),
    ],
)
async def test_an_unusable_url_is_refused_in_a_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        async with Store.open(url):
            pass


async def test_an_unreachable_database_is_an_answer(store: Store, outage: Any) -> None:
    with outage(), pytest.raises(StoreDown) as caught:
        await store.gateways.publish("g1", "a 1", now=5.0)
    assert caught.value.code == "accounting_unavailable"
    await store.gateways.publish("g1", "a 2", now=6.0)
    assert await store.gateways.others("other", since=0.0) == ["a 2"]


async def test_a_role_without_grants_is_down_and_not_refused(postgres: Any) -> None:
    async with Store.open(postgres.empty_url()) as owners, opened_by_clerk(owners) as clerks:
        with pytest.raises(StoreDown, match="permission denied"):
            await clerks.gateways.publish("g1", "a 1", now=5.0)
        await run(owners, "GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk")
        await clerks.gateways.publish("g1", "a 2", now=6.0)
        assert await owners.gateways.others("other", since=0.0) == ["a 2"]


async def test_what_a_database_says_in_detail_is_not_quoted(postgres: Any) -> None:
    async with Store.open(postgres.empty_url()) as store:
        with pytest.raises(StoreDown, match="stop") as caught:
            await run(store, "DO $$ BEGIN RAISE EXCEPTION 'stop' USING DETAIL = 'secret words'; END $$")
    assert "secret words" not in str(caught.value)


@asynccontextmanager
async def opened_by_clerk(owners: Store) -> AsyncIterator[Store]:
    """The same Postgres database, opened by a role that may log in and nothing else."""
    await run(owners, "CREATE ROLE clerk LOGIN", "GRANT USAGE ON SCHEMA public TO clerk")
    clerks = Database(owners.database.engine.url.set(username="clerk").render_as_string())
    try:
        yield Store(clerks)
    finally:
        await clerks.engine.dispose()
        await run(owners, "DROP OWNED BY clerk", "DROP ROLE clerk")


async def run(store: Store, *statements: str) -> None:
    async with store.database.transaction("durable") as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def test_a_database_that_accepts_and_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+asyncpg://postgres@127.0.0.1:{silent.getsockname()[1]}/x"
        opening = Store.open(url, patience_s=0.3)
        with pytest.raises(StoreDown):
            await asyncio.wait_for(opening.__aenter__(), timeout=3)


async def test_the_sqlite_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    async with Store.open(f"sqlite+aiosqlite:///{tmp_path}/penstock.db"):
        modes = modes_of(tmp_path)
    assert len(modes) >= 3
    assert set(modes.values()) == {0o600}


def modes_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob("penstock.db*")}

"""Keys: who a secret stands for, how fast a change is known, and who may be revoked."""

import asyncio
import inspect
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from models.errors import InvalidRequest, NotFound, Unavailable
from serving.store.database import Database, StoreDown
from serving.store.keys import KeyRow, KeyTable
from serving.store.store import Store
from serving.tenancy.keys import PREFIX, KeyAdmin, KeyBook, KeySpec
from tests.serving.api.wire import until

SPEC = KeySpec(org="acme", user="ann")
PATIENT_S = 30  # a look-up on a busy machine, where its limit is not what is tested
ADMIN = KeySpec(org="acme", user="root", role="admin")
INJECTIONS = ["' OR 1=1--", "'; DROP TABLE keys;--", '" UNION SELECT * FROM keys', "%", "\0", "", "é", "\ud800", "$1"]


@pytest.fixture
def admin(store: Store, clock: Any) -> KeyAdmin:
    return KeyAdmin(store.keys, clock=clock)


@asynccontextmanager
async def book_of(store: Store, clock: Any, **options: Any) -> AsyncIterator[KeyBook]:
    async with KeyBook(store.keys, clock=clock, lookup_s=PATIENT_S, **options).open(refresh_s=0.1) as book:
        yield book


@contextmanager
def counted_statements(store: Store) -> Any:
    """Every SQL statement but the bracket of its transaction."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.extend([statement] if not statement.startswith(("BEGIN", "PRAGMA")) else [])

    engine = store.database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def until_refused(book: KeyBook, secret: str) -> None:
    for _ in range(500):
        if await book.find(secret) is None:
            return
        await asyncio.sleep(0.01)


async def test_a_key_stands_for_what_it_was_made_with(store: Store, admin: KeyAdmin, clock: Any) -> None:
    spec = replace(SPEC, role="engineer", models=("auto", "demo-small"), concurrency=3, name="laptop")
    row, secret = await admin.create(spec)
    async with book_of(store, clock) as book:
        caller = await book.find(secret)
    assert caller is not None
    assert (caller.key_id, caller.org, caller.user, caller.role) == (row.id, "acme", "ann", "engineer")
    assert (caller.may_use("auto"), caller.may_use("demo-large"), caller.concurrency) == (True, False, 3)


async def test_a_secret_is_random_and_only_its_digest_is_stored(store: Store, admin: KeyAdmin) -> None:
    secrets = [(await admin.create(SPEC))[1] for _ in range(3)]
    async with store.database.transaction("read") as connection:
        stored = str((await connection.execute(text("SELECT * FROM keys"))).all())
    assert len(set(secrets)) == 3
    assert stored.count("sk-penstock-") == 3
    for secret in secrets:
        assert re.fullmatch(r"sk-penstock-[A-Za-z0-9_-]{43}", secret)
        assert secret[: len(PREFIX) + 5] not in stored


async def test_a_known_key_costs_no_statement(store: Store, admin: KeyAdmin, clock: Any) -> None:
    _, secret = await admin.create(SPEC)
    book = KeyBook(store.keys, clock=clock, lookup_s=PATIENT_S)
    await book.refresh()
    with counted_statements(store) as seen:
        assert all([await book.find(secret) for _ in range(50)])
    assert seen == []


async def test_every_wrong_key_costs_the_same_one_statement(store: Store, admin: KeyAdmin, clock: Any) -> None:
    _, secret = await admin.create(SPEC)
    book = KeyBook(store.keys, clock=clock, lookup_s=PATIENT_S)
    await book.refresh()
    wrong = [secret[:length] + "~" * (len(secret) - length) for length in range(len(secret))] + [secret + "x"]
    with counted_statements(store) as seen:
        assert [await book.find(key) for key in wrong] == [None] * len(wrong)
    assert (len(seen), len(set(seen))) == (len(wrong), 1)


async def test_a_hostile_key_is_only_a_wrong_key(store: Store, admin: KeyAdmin, clock: Any) -> None:
    await admin.create(SPEC)
    async with book_of(store, clock) as book:
        assert [await book.find(secret) for secret in INJECTIONS] == [None] * 9
    assert len(await admin.list()) == 1


async def test_a_flood_of_wrong_keys_fills_no_memory(store: Store, admin: KeyAdmin, clock: Any) -> None:
    _, secret = await admin.create(SPEC)
    async with book_of(store, clock) as book:
        found = await asyncio.gather(*(book.find(f"sk-penstock-{n}") for n in range(500)))
        assert (found, len(book)) == ([None] * 500, 1)
        assert await book.find(secret)


async def test_a_new_key_works_at_once_on_a_gateway_that_has_not_heard_of_it(store: Store, clock: Any) -> None:
    book = KeyBook(store.keys, clock=clock, lookup_s=PATIENT_S)
    await book.refresh()
    _, secret = await KeyAdmin(store.keys, clock=clock).create(SPEC)
    assert len(book) == 0
    assert await book.find(secret)


class WatchedBook(KeyBook):
    """A book that tells of each refresh, once it is over, when it began."""

    def __init__(self, keys: KeyTable, *, clock: Any) -> None:
        super().__init__(keys, clock=clock)
        self.refreshes: asyncio.Queue[float] = asyncio.Queue()

    async def refresh(self) -> None:
        began_at = time.perf_counter()
        await super().refresh()
        self.refreshes.put_nowait(began_at)

    async def refreshed(self, *, since: float) -> None:
        """Wait for the end of the first refresh that begins after this moment."""
        async with asyncio.timeout(PATIENT_S):
            while await self.refreshes.get() < since:
                pass


async def test_a_revoked_key_is_refused_within_a_second_on_another_gateway(
    store: Store, store_url: str, admin: KeyAdmin, clock: Any
) -> None:
    """A second: the half one between two refreshes, and the read of the first one that begins after the change."""
    assert inspect.signature(KeyBook.open).parameters["refresh_s"].default <= 0.5
    keys, waited_s = [await admin.create(SPEC) for _ in range(3)], []
    async with Store.open(store_url) as other, WatchedBook(other.keys, clock=clock).open() as book:
        for row, secret in keys:
            assert await book.find(secret)
            assert await admin.revoke(row.id)
            revoked_at = time.perf_counter()
            await book.refreshed(since=revoked_at)
            assert await book.find(secret) is None
            waited_s.append(time.perf_counter() - revoked_at)
    assert min(waited_s) < 1.0, "a busy machine may hold up one, and not each of three"


async def test_a_key_expires_when_its_time_comes(store: Store, admin: KeyAdmin, clock: Any) -> None:
    _, secret = await admin.create(replace(SPEC, expires_at=clock.at + 60))
    async with book_of(store, clock) as book:
        assert await book.find(secret)
        clock.at += 60
        assert await book.find(secret) is None


async def test_an_expired_or_revoked_key_stays_unknown_after_a_restart(
    store: Store, admin: KeyAdmin, clock: Any
) -> None:
    _, expired = await admin.create(replace(SPEC, expires_at=clock.at + 60))
    row, revoked = await admin.create(SPEC)
    _, good = await admin.create(SPEC)
    await admin.revoke(row.id)
    clock.at += 61
    async with book_of(store, clock) as book:
        assert [bool(await book.find(secret)) for secret in (expired, revoked, good)] == [False, False, True]


async def test_known_keys_work_through_an_outage_until_the_grace_ends(
    store: Store, admin: KeyAdmin, clock: Any, outage: Any
) -> None:
    _, secret = await admin.create(SPEC)
    book = KeyBook(store.keys, clock=clock, grace_s=60)
    await book.refresh()
    reads_fail = store.database.engine.dialect.name == "postgresql"  # a reader of SQLite never waits for a writer
    with outage():
        assert await book.find(secret)
        if reads_fail:
            with pytest.raises(Unavailable) as caught:
                await book.find("sk-penstock-unknown")
            assert caught.value.code == "accounting_unavailable"
        clock.at += 61
        with pytest.raises(StoreDown):
            await book.find(secret)


class SlowKeys(KeyTable):
    """Keys in a database that takes its time; counts who asks."""

    def __init__(self, database: Database, *, takes_s: float) -> None:
        super().__init__(database)
        self._takes_s = takes_s
        self.asking = 0
        self.most = 0

    async def by_digest(self, sha256: str) -> KeyRow | None:
        self.asking += 1
        self.most = max(self.most, self.asking)
        try:
            await asyncio.sleep(self._takes_s)
        finally:
            self.asking -= 1
        return await super().by_digest(sha256)


async def ask_at_once(book: KeyBook, number: int) -> tuple[list[Any], float]:
    """What so many unknown keys got, and how long the last one waited."""
    started = time.perf_counter()
    found = await asyncio.gather(*(book.find(f"sk-penstock-{n}") for n in range(number)), return_exceptions=True)
    return found, time.perf_counter() - started


async def test_unknown_keys_wait_no_longer_than_the_limit_for_a_slow_database(store: Store, clock: Any) -> None:
    slow = SlowKeys(store.database, takes_s=60)
    found, waited_s = await ask_at_once(KeyBook(slow, clock=clock, lookup_s=0.5), 100)
    assert {(type(error), error.code) for error in found} == {(StoreDown, "accounting_unavailable")}
    assert 0.5 <= waited_s < 10, "the database takes 60 s, and a limit from each one's turn on, two at a time, 25 s"
    await until(lambda: slow.asking == 0)
    assert slow.most == 2


async def test_an_unknown_key_gets_its_answer_from_a_database_that_is_slow_but_answers(
    store: Store, admin: KeyAdmin, clock: Any
) -> None:
    _, secret = await admin.create(SPEC)
    book = KeyBook(SlowKeys(store.database, takes_s=0.2), clock=clock, lookup_s=PATIENT_S)
    assert await book.find(secret)
    assert await book.find("sk-penstock-unknown") is None


async def test_a_caller_that_leaves_takes_its_look_up_along(store: Store, clock: Any) -> None:
    slow = SlowKeys(store.database, takes_s=60)
    book = KeyBook(slow, clock=clock, lookup_s=PATIENT_S)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(book.find("sk-penstock-unknown"), timeout=0.1)
    await asyncio.sleep(0)
    assert (slow.most, slow.asking) == (1, 0)


async def test_a_hundred_unknown_keys_wait_a_second_for_a_database_that_accepts_and_never_answers(clock: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+asyncpg://postgres@127.0.0.1:{silent.getsockname()[1]}/x"
        database = Database(url, patience_s=60)
        found, waited_s = await ask_at_once(KeyBook(KeyTable(database), clock=clock), 100)
        await database.engine.dispose()
    assert {type(error) for error in found} == {StoreDown}
    assert 1 <= waited_s < 20, "the database is given 60 s, and a limit from each one's turn on, two at a time, 50 s"


async def test_the_book_catches_up_after_an_outage(store: Store, admin: KeyAdmin, clock: Any, outage: Any) -> None:
    _, secret = await admin.create(SPEC)
    async with book_of(store, clock) as book:
        with outage():
            assert await book.find(secret)
            await asyncio.sleep(0.3)
        await admin.revoke((await admin.list())[0].id)
        await until_refused(book, secret)
        assert await book.find(secret) is None


async def test_the_last_admin_key_cannot_be_revoked(admin: KeyAdmin, clock: Any) -> None:
    first, _ = await admin.create(ADMIN)
    await admin.create(SPEC)
    await admin.create(replace(ADMIN, expires_at=clock.at + 5))
    clock.at += 10
    with pytest.raises(InvalidRequest, match="last admin key") as caught:
        await admin.revoke(first.id)
    assert caught.value.code == "invalid_value"
    await admin.create(ADMIN)
    assert await admin.revoke(first.id)


async def test_two_admins_revoked_at_the_same_time_leave_one(admin: KeyAdmin) -> None:
    rows = [(await admin.create(ADMIN))[0] for _ in range(2)]
    outcomes = await asyncio.gather(*(admin.revoke(row.id) for row in rows), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["InvalidRequest", "bool"]
    assert [row.revoked_at is None for row in await admin.list()].count(True) == 1


async def test_revoking_twice_changes_nothing_and_an_unknown_id_is_told(admin: KeyAdmin, clock: Any) -> None:
    row, _ = await admin.create(SPEC)
    assert await admin.revoke(row.id)
    clock.at += 5
    assert await admin.revoke(row.id)
    assert [listed.revoked_at for listed in await admin.list()] == [clock.at - 5]
    assert [await admin.revoke(unknown) for unknown in ("key_" + "0" * 24, "key_\0", "")] == [False] * 3


async def test_the_first_admin_key_is_made_once_and_never_again(admin: KeyAdmin, store: Store, clock: Any) -> None:
    first = await admin.create_first()
    assert first is not None
    async with book_of(store, clock) as book:
        caller = await book.find(first)
    assert caller is not None
    assert caller.role == "admin"
    assert await admin.create_first() is None


async def test_an_org_that_opts_in_keeps_text_for_all_its_keys(store: Store, admin: KeyAdmin, clock: Any) -> None:
    _, secret = await admin.create(SPEC)
    _, other = await admin.create(replace(SPEC, org="other"))
    book = KeyBook(store.keys, clock=clock, lookup_s=PATIENT_S)
    for keep, act in ((False, None), (True, True), (False, False)):
        if act is not None:
            await admin.keep_text("acme", act)
        await book.refresh()
        found = [await book.find(key) for key in (secret, other)]
        assert [caller.keep_text for caller in found if caller] == [keep, False]
    await admin.create(replace(SPEC, keep_text=True))
    assert [row.keep_text for row in await admin.list() if row.org == "acme"] == [True, True]
    with pytest.raises(NotFound):
        await admin.keep_text("nobody", True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("org", bad) for bad in ("", "Acme", "-acme", "a/b", "a..b", "a\n", "a" * 64, "b\u0430se", ".")),
        *(("user", bad) for bad in ("", "Ann", "_ann", "a b")),
        ("role", "root"),
        ("concurrency", 0),
        ("concurrency", 10_001),
        ("expires_at", 1.0),
        ("expires_at", float("nan")),
        ("expires_at", float("inf")),
        ("models", ()),
        ("models", ("",)),
        ("models", ("a\0",)),
        ("models", tuple(f"m{n}" for n in range(65))),
        ("name", "a\nb"),
        ("name", "x" * 129),
    ],
)
async def test_an_impossible_key_is_refused_before_the_store_is_asked(
    clock: Any, tmp_path: Path, field: str, value: Any
) -> None:
    admin = KeyAdmin(KeyTable(Database(f"sqlite+aiosqlite:///{tmp_path}/without-tables.db")), clock=clock)
    with pytest.raises(InvalidRequest) as caught:
        await admin.create(replace(SPEC, **{field: value}))
    assert (caught.value.param, caught.value.code) == (field, "invalid_value")

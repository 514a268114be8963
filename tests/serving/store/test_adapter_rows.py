"""Adapters in both databases: whole changes, one writer, marks, and who holds a lease."""

import asyncio
from dataclasses import replace

import pytest

from serving.store.adapters import AdapterRow, AliasRow, AuditRow, VersionRow
from serving.store.store import Store

ADAPTER = AdapterRow("adp-1", "acme", "bot", "demo-small", "key", 1.0, {"input_micro_usd": 1, "output_micro_usd": 2})
VERSION = VersionRow("adp-1", 1, "validated", "key", 1.0, 1.0, digest="a" * 64, bytes=10, facts={"rank": 4})
ALIAS = AliasRow("acme", "bot", "adp-1", ((1, 90.0), (2, 10.0)), 1.0, previous=3, canary={"version": 2})


async def test_rows_come_back_as_they_went_in(store: Store) -> None:
    async with store.adapters.changing() as change:
        await change.put_adapter(ADAPTER)
        await change.put_version(VERSION)
        await change.put_alias(ALIAS)
        await change.note(AuditRow(1.0, "acme", "key", "push", "bot", {"version": 1}))
    table = store.adapters
    assert await table.find("acme", "bot") == ADAPTER
    assert await table.find("rival", "bot") is None
    assert await table.versions("adp-1") == [VERSION]
    assert await table.alias("acme", "bot") == ALIAS
    assert [row.action for row in await table.audit("acme", subject="bot")] == ["push"]
    assert await table.audit("rival") == []


async def test_a_change_that_raises_leaves_nothing_and_the_mark_as_it_was(store: Store) -> None:
    before = await store.adapters.mark()

    async def broken() -> None:
        async with store.adapters.changing() as change:
            await change.put_adapter(ADAPTER)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await broken()
    assert await store.adapters.everything("acme") == ([], [], [])
    assert await store.adapters.mark() == before


async def test_changes_come_one_after_the_other(store: Store) -> None:
    async with store.adapters.changing() as change:
        await change.put_adapter(ADAPTER)

    async def next_version() -> int:
        async with store.adapters.changing() as change:
            known = await change.versions("adp-1")
            number = known[0].number + 1 if known else 1
            await asyncio.sleep(0.01)
            await change.put_version(VersionRow("adp-1", number, "uploaded", "key", 1.0, 1.0))
            return number

    assert sorted(await asyncio.gather(*(next_version() for _ in range(6)))) == [1, 2, 3, 4, 5, 6]


async def test_a_replica_hears_what_is_loaded_with_what_aliases_name_first(store: Store) -> None:
    other = AdapterRow("adp-2", "acme", "other", "demo-large", "key", 1.0)
    async with store.adapters.changing() as change:
        await change.put_adapter(ADAPTER)
        await change.put_adapter(other)
        for number, state in ((1, "draining"), (2, "ready"), (3, "retired"), (4, "loading"), (5, "failed")):
            await change.put_version(
                VersionRow("adp-1", number, state, "key", 1.0, 1.0, digest=f"{number:064x}", base_revision="r")  # type: ignore[arg-type]
            )
        await change.put_version(VersionRow("adp-2", 1, "ready", "key", 1.0, 1.0, digest="f" * 64, base_revision="r"))
        await change.put_alias(AliasRow("acme", "bot", "adp-1", ((2, 100.0),), 5.0))
    assert [ref.digest for ref in await store.adapters.live("demo-small", revision="r")] == [f"{2:064x}", f"{1:064x}"]
    assert await store.adapters.live("demo-small", revision="newer") == []
    assert [ref.engine_name for ref in await store.adapters.live("demo-large", revision="r")] == [f"other@{'f' * 20}"]


async def test_one_holds_a_lease_until_it_ends(store: Store) -> None:
    views = store.views
    assert await views.hold("house", "a", now=100.0, for_s=10)
    assert not await views.hold("house", "b", now=105.0, for_s=10)
    assert await views.hold("house", "a", now=108.0, for_s=10)
    assert not await views.hold("house", "b", now=117.0, for_s=10)
    assert await views.hold("house", "b", now=118.5, for_s=10)
    await views.gone("b")
    assert await views.hold("house", "a", now=119.0, for_s=10)


async def test_a_snapshot_is_of_one_moment_whatever_is_changed_while_it_is_read(store: Store, store_url: str) -> None:
    async with store.adapters.changing() as change:
        await change.put_adapter(ADAPTER)
        await change.put_version(replace(VERSION, state="loading"))
        await change.put_version(replace(VERSION, number=2, state="ready", digest="b" * 64))
        await change.put_alias(replace(ALIAS, targets=((2, 100.0),), canary=None))
    stop = asyncio.Event()

    async def flip() -> None:
        async with Store.open(store_url) as other:
            for turn in range(10_000):
                if stop.is_set():
                    return
                ready, loading = (1, 2) if turn % 2 else (2, 1)
                async with other.adapters.changing() as change:
                    await change.put_version(replace(VERSION, number=ready, state="ready"))
                    await change.put_version(replace(VERSION, number=loading, state="loading"))
                    await change.put_alias(replace(ALIAS, targets=((ready, 100.0),), canary=None))

    flipping = asyncio.create_task(flip())
    snapshots, marks = 0, set()
    async with asyncio.timeout(60):
        while snapshots < 200 or len(marks) <= 5:
            seen = await store.adapters.snapshot()
            snapshots += 1
            marks.add(seen.mark)
            states = {row.number: row.state for row in seen.versions}
            assert states[seen.aliases[0].targets[0][0]] == "ready"
    stop.set()
    await flipping

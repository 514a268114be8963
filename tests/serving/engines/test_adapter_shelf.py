"""A replica's book of adapters, on a fake engine and fake files: loads, holds, drops and failures."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from models.adapters.names import AdapterRef
from serving.engines.adapters import RETRY_S, AdapterShelf, Failed, Loaded
from serving.engines.fake_lora import FakeFiles, FakeLora, made_ref

A, B, C = (made_ref(name) for name in "abc")


class HandClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def engine() -> FakeLora:
    return FakeLora()


@pytest.fixture
def files(tmp_path: Path) -> FakeFiles:
    return FakeFiles(tmp_path)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def shelf(engine: FakeLora, files: FakeFiles, clock: HandClock) -> AdapterShelf:
    return AdapterShelf(engine, files, clock=clock)


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come to that")


def code(outcome: Loaded | Failed | None) -> str | None:
    return outcome.code if isinstance(outcome, Failed) else None


async def test_callers_of_one_version_share_a_load_and_the_next_one_finds_it(
    shelf: AdapterShelf, engine: FakeLora, files: FakeFiles
) -> None:
    outcomes = await asyncio.gather(*(shelf.ensure(A) for _ in range(20)))
    assert all(isinstance(outcome, Loaded) for outcome in outcomes)
    assert await shelf.ensure(A) == outcomes[0]
    assert (engine.added, files.fetched) == ([A.engine_name], [A.engine_name])


async def test_files_are_fetched_side_by_side_and_the_engine_gets_one_version_at_a_time(
    shelf: AdapterShelf, engine: FakeLora, files: FakeFiles
) -> None:
    files.gate.clear()
    engine.gate.clear()
    loads = [asyncio.ensure_future(shelf.ensure(ref)) for ref in (A, B, C)]
    await settle()
    assert len(files.fetched) == 3
    files.gate.set()
    await until(lambda: engine.working > 0)
    engine.gate.set()
    await asyncio.gather(*loads)
    assert (len(engine.added), engine.most_at_once) == (3, 1)


async def test_a_caller_who_leaves_ends_no_load(shelf: AdapterShelf, engine: FakeLora) -> None:
    engine.gate.clear()
    leaver, stayer = asyncio.ensure_future(shelf.ensure(A)), asyncio.ensure_future(shelf.ensure(A))
    await settle()
    leaver.cancel()
    await settle()
    assert (leaver.cancelled(), shelf.loading) == (True, [A])
    engine.gate.set()
    assert isinstance(await stayer, Loaded)
    assert engine.added == [A.engine_name]


async def test_the_only_caller_may_leave_and_the_version_comes_all_the_same(
    shelf: AdapterShelf, engine: FakeLora
) -> None:
    engine.gate.clear()
    leaver = asyncio.ensure_future(shelf.ensure(A))
    await settle()
    leaver.cancel()
    engine.gate.set()
    await until(lambda: shelf.ready(A))
    assert engine.names == {A.engine_name: 1}


@pytest.mark.parametrize("where", ["missing", "refuses", "cold"])
async def test_a_failed_load_says_why_and_leaves_nothing_behind(
    shelf: AdapterShelf, engine: FakeLora, files: FakeFiles, where: str
) -> None:
    getattr(files if where == "missing" else engine, where)[A.engine_name] = "it is made of lead"
    outcome = await shelf.ensure(A)
    assert isinstance(outcome, Failed)
    assert outcome.message.startswith(f"Adapter {A.engine_name!r} cannot be loaded: ")
    assert outcome.message.endswith("it is made of lead.")
    assert (shelf.versions, shelf.loading, engine.names) == ([], [], {})
    assert (await engine.slots()).host == ()
    assert [failure.failed for failure in shelf.failures] == [outcome]


async def test_whoever_loads_on_purpose_tries_again_and_a_call_waits_a_while_with_that(
    shelf: AdapterShelf, engine: FakeLora, clock: HandClock
) -> None:
    engine.refuses[A.engine_name] = "no"
    assert code(await shelf.ensure(A)) == "adapter_failed"
    assert code(await shelf.ensure(A)) == "adapter_failed"
    for _ in range(5):
        assert code(await shelf.ensure(A, patient=False)) == "adapter_failed"
    assert len(engine.added) == 2
    clock.seconds += RETRY_S
    del engine.refuses[A.engine_name]
    assert isinstance(await shelf.ensure(A, patient=False), Loaded)
    assert shelf.failures == []


async def test_an_error_that_nobody_foresaw_is_an_answer_too(shelf: AdapterShelf, files: FakeFiles) -> None:
    async def fetch(ref: AdapterRef) -> Path:
        raise RuntimeError("the disk sings")

    files.fetch = fetch  # type: ignore[method-assign]
    outcomes = await asyncio.gather(*(shelf.ensure(A) for _ in range(3)))
    assert [code(outcome) for outcome in outcomes] == ["adapter_failed"] * 3


async def test_only_so_many_failures_are_kept(shelf: AdapterShelf, engine: FakeLora) -> None:
    for index in range(70):
        ref = made_ref(f"bad-{index}")
        engine.refuses[ref.engine_name] = "no"
        await shelf.ensure(ref)
    assert len(shelf.failures) == 64
    assert shelf.failures[-1].ref == made_ref("bad-69")


async def test_one_name_with_other_files_is_refused(shelf: AdapterShelf) -> None:
    await shelf.ensure(A)
    twin = AdapterRef(A.engine_name, A.artifact, A.digest[:-1] + "1")
    assert code(await shelf.ensure(twin)) == "adapter_failed"
    assert shelf.ready(A)
    assert not shelf.ready(twin)


async def test_a_version_loaded_again_gets_an_id_that_was_never_used(shelf: AdapterShelf, engine: FakeLora) -> None:
    numbers = []
    for _ in range(3):
        await shelf.ensure(A)
        numbers.append(engine.names[A.engine_name])
        assert await shelf.drop(A.engine_name, wait_s=0) is None
    assert len(set(numbers)) == 3


async def test_a_call_keeps_its_version_and_a_drop_waits_for_the_last_one(
    shelf: AdapterShelf, engine: FakeLora
) -> None:
    async with shelf.hold(A) as first:
        async with shelf.hold(A) as second:
            assert (first, second) == (None, None)
            drop = asyncio.ensure_future(shelf.drop(A.engine_name, wait_s=5))
            await settle()
        await settle()
        assert (drop.done(), engine.names) == (False, {A.engine_name: 1})
    assert await drop is None
    assert (engine.names, engine.removed, shelf.versions, shelf.requests) == ({}, [A.engine_name], [], 2)


async def test_a_drop_that_waits_too_long_is_told_so_and_takes_nothing(shelf: AdapterShelf, engine: FakeLora) -> None:
    async with shelf.hold(A):
        assert code(await shelf.drop(A.engine_name, wait_s=0)) == "adapter_busy"
        assert code(await shelf.drop(A.engine_name, wait_s=0.01)) == "adapter_busy"
    assert shelf.ready(A)
    assert engine.removed == []


async def test_a_drop_of_nothing_says_so_and_forgets_an_old_failure(shelf: AdapterShelf, engine: FakeLora) -> None:
    engine.refuses[A.engine_name] = "no"
    await shelf.ensure(A)
    assert code(await shelf.drop(A.engine_name, wait_s=0)) == "adapter_unknown"
    assert shelf.failures == []


async def test_a_drop_waits_for_a_load_under_way(shelf: AdapterShelf, engine: FakeLora) -> None:
    engine.gate.clear()
    load = asyncio.ensure_future(shelf.ensure(A))
    await settle()
    assert code(await shelf.drop(A.engine_name, wait_s=0.01)) == "adapter_busy"
    drop = asyncio.ensure_future(shelf.drop(A.engine_name, wait_s=5))
    engine.gate.set()
    assert isinstance(await load, Loaded)
    assert await drop is None
    assert engine.names == {}


async def test_two_drops_at_once_take_it_once(shelf: AdapterShelf, engine: FakeLora) -> None:
    await shelf.ensure(A)
    outcomes = await asyncio.gather(*(shelf.drop(A.engine_name, wait_s=1) for _ in range(2)))
    assert sorted(code(outcome) or "" for outcome in outcomes) == ["", "adapter_unknown"]
    assert engine.removed == [A.engine_name]


async def test_a_call_that_comes_while_a_version_goes_gets_it_loaded_again(
    shelf: AdapterShelf, engine: FakeLora
) -> None:
    await shelf.ensure(A)
    drop = asyncio.ensure_future(shelf.drop(A.engine_name, wait_s=1))
    await asyncio.sleep(0)
    async with shelf.hold(A) as failed:
        assert failed is None
        assert engine.names == {A.engine_name: 2}
    assert await drop is None


async def test_files_that_are_gone_are_fetched_again_before_the_next_call(
    shelf: AdapterShelf, engine: FakeLora, files: FakeFiles
) -> None:
    await shelf.ensure(A)
    shelf.versions[0].folder.rmdir()
    async with shelf.hold(A) as failed:
        assert failed is None
        assert shelf.versions[0].folder.exists()
    assert (len(files.fetched), engine.added) == (2, [A.engine_name])


async def test_files_that_are_gone_for_good_refuse_the_call_and_not_those_that_run(
    shelf: AdapterShelf, engine: FakeLora, files: FakeFiles
) -> None:
    async with shelf.hold(A):
        shelf.versions[0].folder.rmdir()
        files.missing[A.engine_name] = "the store is empty"
        async with shelf.hold(A) as failed:
            assert code(failed) == "adapter_failed"
        assert shelf.versions[0].running == 1
    assert engine.names == {A.engine_name: 1}


async def test_what_a_replica_starts_with_is_all_loaded_and_the_first_ones_stay_in_memory(
    shelf: AdapterShelf, engine: FakeLora
) -> None:
    refs = [made_ref(f"live-{index}") for index in range(7)]
    bad = refs[1]
    engine.refuses[bad.engine_name] = "no"
    await shelf.fill([*refs, refs[0]])
    assert {version.ref for version in shelf.versions} == set(refs) - {bad}
    assert [failure.ref for failure in shelf.failures] == [bad]
    held = {version.ref for version in shelf.versions if version.number in (await engine.slots()).host}
    assert held == {refs[0], *refs[2:5]}


async def test_a_closed_shelf_loads_nothing_and_gives_up_what_it_was_loading(
    shelf: AdapterShelf, engine: FakeLora
) -> None:
    await shelf.ensure(A)
    engine.gate.clear()
    load = asyncio.ensure_future(shelf.ensure(B))
    await settle()
    await shelf.close()
    assert code(await load) == code(await shelf.ensure(C)) == "server_shutting_down"
    async with shelf.hold(A) as failed:
        assert failed is None
    assert engine.names == {A.engine_name: 1}


@pytest.mark.parametrize("seed", range(15))
async def test_no_schedule_of_loads_calls_and_drops_loses_a_call_or_leaves_one_counted(
    shelf: AdapterShelf, engine: FakeLora, seed: int
) -> None:
    chance = random.Random(seed)
    lost: list[Failed] = []

    async def call(ref: AdapterRef) -> None:
        async with shelf.hold(ref) as failed:
            lost.extend([failed] if failed is not None else [])
            for _ in range(chance.randrange(6)):
                assert failed is not None or ref.engine_name in engine.names, "unloaded under a running call"
                await asyncio.sleep(0)

    works: list[asyncio.Task[object]] = []
    for _ in range(200):
        ref = chance.choice((A, B, C))
        act = chance.random()
        if act < 0.6:
            works.append(asyncio.ensure_future(call(ref)))
        elif act < 0.8:
            works.append(asyncio.ensure_future(shelf.drop(ref.engine_name, wait_s=chance.choice((0, 1)))))
        elif works:
            chance.choice(works).cancel()
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        results = await asyncio.gather(*works, return_exceptions=True)
    assert [result for result in results if isinstance(result, Exception)] == lost == []
    assert {version.ref.engine_name for version in shelf.versions} == set(engine.names)
    assert sum(version.running for version in shelf.versions) == 0
    assert engine.removed, "nothing was ever dropped"

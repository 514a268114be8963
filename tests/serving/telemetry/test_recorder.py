"""The recorder: every call becomes exactly one row, through outages, stops and kills."""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from models.clock import SystemClock
from models.errors import InvalidRequest, NotFound
from models.types import Principal
from serving.store.database import StoreDown
from serving.store.store import Store
from serving.telemetry.metrics import Metrics
from serving.telemetry.record import AttemptTrace, CallRecord
from serving.telemetry.recorder import Recorder
from serving.telemetry.spool import Spool, spooled_records

ANN = Principal(key_id="key_1", org="acme", user="ann", role="inference")
EVE = Principal(key_id="key_2", org="evil", user="eve", role="admin")
OPINION = {"rating": "up", "comment": None, "corrected": None}


def record(number: int, **changes: Any) -> CallRecord:
    made = CallRecord(
        id=f"req-{number}",
        started_at=1_800_000_000.0 + number,
        kind="chat",
        org="acme",
        attempts=[AttemptTrace("demo-small", "r#1", "ok", 1.5)],
        completion_tokens=number,
        stages_ms={"engine": 1.0},
        status=200,
    )
    return replace(made, **changes)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics({"demo-small"})


@pytest.fixture
def opened(store: Store, metrics: Metrics, tmp_path: Path, log_lines: Any) -> Callable[[], Recorder]:
    return lambda: Recorder(store, Spool(tmp_path / "spool"), metrics=metrics, clock=SystemClock())


@pytest.fixture
async def recorder(opened: Callable[[], Recorder]) -> AsyncIterator[Recorder]:
    async with opened() as running:
        yield running


async def eventually(condition: Callable[[], Any], *, within_s: float = 10.0) -> None:
    for _ in range(int(within_s / 0.02)):
        outcome = condition()
        if await outcome if asyncio.iscoroutine(outcome) else outcome:
            return
        await asyncio.sleep(0.02)
    pytest.fail("it never came true")


async def rows_are(store: Store, records: list[CallRecord]) -> None:
    """Exactly these rows, field by field."""

    async def complete() -> bool:
        return await store.records.count() == len(records)

    await eventually(complete)
    found = {row.uid: row for row in await store.records.recent(10_000)}
    assert found == {row.uid: row for row in records}


def spooled(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("spool/*.jsonl"))


async def test_finished_calls_are_rows_soon_after_without_anybody_waiting(store: Store, recorder: Recorder) -> None:
    records = [record(n) for n in range(450)]
    for each in records:
        recorder.finish(each)
    await rows_are(store, records)


async def test_calls_of_an_outage_are_rows_once_it_is_over(
    store: Store, recorder: Recorder, metrics: Metrics, outage: Any, tmp_path: Path, read_figure: Any
) -> None:
    records = [record(n) for n in range(300)]
    with outage():
        for each in records[:250]:
            recorder.finish(each)
        await eventually(lambda: spooled(tmp_path) == 250)
    for each in records[250:]:
        recorder.finish(each)
    await rows_are(store, records)
    await eventually(lambda: spooled(tmp_path) == 0)
    figures = metrics.text()
    assert (outage.happened, read_figure(figures, "penstock_records_spooled_total") >= 250) == (1, True)
    assert read_figure(figures, "penstock_records_dropped_total") == 0


async def test_calls_wait_on_disk_while_the_database_is_there_and_takes_no_row(
    store: Store, recorder: Recorder, metrics: Metrics, damaged: Any, tmp_path: Path, read_figure: Any
) -> None:
    records = [record(n) for n in range(20)]
    async with damaged:
        for each in records:
            recorder.finish(each)
        await eventually(lambda: spooled(tmp_path) == 20)
        await asyncio.sleep(1.5)  # a replay has failed too
        assert spooled(tmp_path) == 20
    await rows_are(store, records)
    assert read_figure(metrics.text(), "penstock_records_dropped_total") == 0


async def test_a_clean_stop_loses_nothing(store: Store, opened: Callable[[], Recorder]) -> None:
    records = [record(n) for n in range(500)]
    async with opened() as recorder:
        for each in records:
            recorder.finish(each)
    assert await store.records.count() == 500


async def test_a_clean_stop_in_an_outage_leaves_the_records_to_the_next_start(
    store: Store, opened: Callable[[], Recorder], outage: Any, tmp_path: Path
) -> None:
    records = [record(n) for n in range(20)]
    with outage():
        async with opened() as recorder:
            for each in records:
                recorder.finish(each)
        assert spooled(tmp_path) == 20
    async with opened():
        await rows_are(store, records)
        await eventually(lambda: not list((tmp_path / "spool").iterdir()))  # a file goes after its rows have come
    assert list((tmp_path / "spool").iterdir()) == []


async def test_a_record_that_comes_after_the_stop_is_kept_too(store: Store, opened: Callable[[], Recorder]) -> None:
    async with opened() as recorder:
        pass
    recorder.finish(record(1))
    await recorder.aclose()
    async with opened():
        await rows_are(store, [record(1, uid=(await store.records.recent())[0].uid)])


async def test_a_record_that_comes_while_the_last_ones_are_replayed_stays_on_disk(
    metrics: Metrics, tmp_path: Path, log_lines: Any
) -> None:
    spool = Spool(tmp_path / "spool")
    slow = SlowRecords()
    recorder = Recorder(cast(Store, SimpleNamespace(records=slow)), spool, metrics=metrics, clock=SystemClock())
    spool.append([record(1)])
    closing = asyncio.create_task(recorder.aclose())
    await slow.called.wait()
    recorder.finish(record(2, uid="late"))
    slow.let_go.set()
    await closing
    [left] = (tmp_path / "spool").glob("*.jsonl")
    assert "late" in [row.uid for row in spooled_records(left)]


class SlowRecords:
    """The records of a database that takes its time."""

    def __init__(self) -> None:
        self.called, self.let_go = asyncio.Event(), asyncio.Event()

    async def add(self, records: Any) -> None:
        self.called.set()
        await self.let_go.wait()


async def test_neither_database_nor_disk_keeps_the_records_waiting_in_memory(
    store: Store, metrics: Metrics, outage: Any, tmp_path: Path, read_figure: Any
) -> None:
    records = [record(n) for n in range(5)]
    spool = Spool(tmp_path / "spool", limit_bytes=10)
    async with Recorder(store, spool, metrics=metrics, clock=SystemClock()) as recorder:
        with outage():
            for each in records:
                recorder.finish(each)
            await asyncio.sleep(1)
            assert read_figure(metrics.text(), "penstock_records_queued") == 5
        await rows_are(store, records)
    assert read_figure(metrics.text(), "penstock_records_dropped_total") == 0


async def test_one_row_that_no_database_takes_does_not_hold_up_the_others(
    store: Store, recorder: Recorder, metrics: Metrics, read_figure: Any
) -> None:
    good = [record(n) for n in range(3)]
    for each in [good[0], record(9, completion_tokens=2**80), *good[1:]]:
        recorder.finish(each)
    await rows_are(store, good)
    assert read_figure(metrics.text(), "penstock_records_dropped_total") == 1


async def test_a_queue_without_end_is_cut_and_counted(
    store: Store, metrics: Metrics, tmp_path: Path, read_figure: Any
) -> None:
    class Short(Recorder):
        queue_limit = 10

    async with Short(store, Spool(tmp_path), metrics=metrics, clock=SystemClock()) as recorder:
        for number in range(17):
            recorder.finish(record(number))
        assert read_figure(metrics.text(), "penstock_records_dropped_total") == 7
    assert await store.records.count() == 10


class DownRecords:
    """The records of a database that is away."""

    async def add(self, records: Any) -> None:
        raise StoreDown("down")


def run_until_killed(folder: Path, ready: Any) -> None:
    """A gateway process whose database is down: 300 calls finish and reach the spool, then it waits for its death."""

    async def gateway() -> None:
        store = cast(Store, SimpleNamespace(records=DownRecords()))
        async with Recorder(store, Spool(folder / "spool"), metrics=Metrics(()), clock=SystemClock()) as recorder:
            for number in range(300):
                recorder.finish(record(number, uid=f"u{number}"))
            await recorder.flush()
            ready.put(os.getpid())
            await asyncio.sleep(60)

    asyncio.run(gateway())


def test_a_killed_process_leaves_a_spool_that_the_next_one_replays_once(
    store_url: str, tmp_path: Path, log_lines: Any
) -> None:
    fork = multiprocessing.get_context("fork")
    ready = fork.Queue()
    victim = fork.Process(target=run_until_killed, args=(tmp_path, ready))
    victim.start()
    os.kill(ready.get(timeout=30), signal.SIGKILL)
    victim.join()
    assert (victim.exitcode, spooled(tmp_path)) == (-signal.SIGKILL, 300)
    [left] = (tmp_path / "spool").glob("*.jsonl")
    with left.open("ab") as file:
        file.write(b'{"id": "torn')
    copy = left.read_bytes()
    assert asyncio.run(rows_after_adopting(store_url, tmp_path)) == 300
    left.write_bytes(copy)  # as if the process had died between the insert and the unlink
    assert asyncio.run(rows_after_adopting(store_url, tmp_path)) == 300
    assert (list((tmp_path / "spool").iterdir()), "spool_line_unreadable" in log_lines.getvalue()) == ([], True)


async def rows_after_adopting(url: str, folder: Path) -> int:
    async with Store.open(url) as store:
        async with Recorder(store, Spool(folder / "spool"), metrics=Metrics(()), clock=SystemClock()):
            await eventually(lambda: not list((folder / "spool").iterdir()))
        return await store.records.count()


async def test_a_living_process_keeps_its_spool(store: Store, opened: Callable[[], Recorder], tmp_path: Path) -> None:
    living, other = Spool(tmp_path / "spool"), Spool(tmp_path / "spool")
    living.append([record(1)])
    with other.orphans() as paths:
        assert paths == []
    living.release()
    with other.orphans() as paths:
        assert len(paths) == 1


async def test_feedback_joins_a_call_that_ended_a_moment_ago(store: Store, recorder: Recorder) -> None:
    recorder.finish(record(1))
    await recorder.feedback("req-1", ANN, **OPINION)  # type: ignore[arg-type]
    [row] = await store.feedback.of("req-1")
    assert (row.user, row.rating) == ("ann", "up")


async def test_feedback_finds_a_call_that_another_gateway_has_just_served(
    store: Store, recorder: Recorder, opened: Callable[[], Recorder]
) -> None:
    async with opened() as other:
        other.finish(record(1))
        await recorder.feedback("req-1", ANN, **OPINION)  # type: ignore[arg-type]
    assert len(await store.feedback.of("req-1")) == 1


async def test_anothers_request_is_not_found_just_as_a_missing_one(store: Store, recorder: Recorder) -> None:
    recorder.finish(record(1))
    answers = []
    for request_id in ("req-1", "req-404", "\0"):
        with pytest.raises(NotFound) as caught:
            await recorder.feedback(request_id, EVE, **OPINION)  # type: ignore[arg-type]
        answers.append((caught.value.public, caught.value.code, caught.value.param))
    assert len(set(answers)) == 1
    assert await store.feedback.of("req-1") == []


async def test_an_opinion_is_up_or_down(recorder: Recorder) -> None:
    with pytest.raises(InvalidRequest, match="rating"):
        await recorder.feedback("req-1", ANN, rating="meh", comment=None, corrected=None)


async def test_finishing_a_call_takes_no_time_while_the_database_is_away(recorder: Recorder, outage: Any) -> None:
    with outage():
        started = time.perf_counter()
        for number in range(500):
            recorder.finish(record(number))
        took = time.perf_counter() - started
    assert took / 500 < 0.005

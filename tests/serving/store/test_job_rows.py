"""Fine-tuning jobs in both databases: whole changes, one writer, pages, events, and a worker's heartbeat."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from serving.store.jobs import CheckpointRow, EventRow, JobRow
from serving.store.store import Store

JOB = JobRow(
    "ftjob-1",
    "acme",
    "ann",
    "key",
    1.0,
    "queued",
    "waiting",
    1.0,
    "demo-small",
    {"model": "demo-small", "metadata": {"team": "a"}, "penstock": {"golden_file": "file-g"}},
    "file-t",
    "support",
    validation_file="file-v",
)


async def put(store: Store, *rows: JobRow) -> None:
    async with store.jobs.changing() as change:
        for row in rows:
            await change.put(row)


async def test_a_job_comes_back_as_it_went_in(store: Store) -> None:
    full = replace(
        JOB,
        wanted="pause",
        order={"n_epochs": 3},
        adapter_version=2,
        fine_tuned_model="ft:x",
        attempt=2,
        worker={"pid": 7},
        beat_at=2.0,
        started_at=1.5,
        step=4,
        steps=9,
        trained_tokens=2**40,
        trained_s=1.5,
        error={"code": "diverged"},
        report={"passed": False},
        result_files=("file-r",),
    )
    await put(store, full, replace(JOB, id="ftjob-2"))
    assert await store.jobs.find("ftjob-1") == full
    assert await store.jobs.find("ftjob-2") == replace(JOB, id="ftjob-2")
    assert await store.jobs.find("ftjob-1", org="acme") == full
    assert await store.jobs.find("ftjob-1", org="rival") is None


async def test_pages_are_newest_first_and_tell_whether_more_follow(store: Store) -> None:
    await put(store, *(replace(JOB, id=f"ftjob-{at}", created_at=float(at // 2)) for at in range(5)))
    await put(store, replace(JOB, id="ftjob-9", org="rival", created_at=9.0))

    async def page(after: str | None, limit: int) -> Any:
        found = await store.jobs.page("acme", after=after, limit=limit)
        return found and ([row.id for row in found[0]], found[1])

    assert await page(None, 3) == (["ftjob-4", "ftjob-3", "ftjob-2"], True)
    assert await page("ftjob-2", 2) == (["ftjob-1", "ftjob-0"], False)
    assert await page("ftjob-9", 2) is None


async def test_jobs_are_found_by_their_metadata(store: Store) -> None:
    other = {"model": "demo-small", "metadata": {"team": "b", "a.b c": "x"}}
    await put(store, JOB, replace(JOB, id="ftjob-2", asked=other), replace(JOB, id="ftjob-3", asked={}))

    async def ids(metadata: dict[str, str]) -> list[str]:
        found = await store.jobs.page("acme", after=None, limit=9, metadata=metadata)
        assert found is not None
        return sorted(row.id for row in found[0])

    assert await ids({"team": "b"}) == ["ftjob-2"]
    assert await ids({"team": "b", "a.b c": "x"}) == ["ftjob-2"]
    assert await ids({"team": "c"}) == []
    assert len(await ids({})) == 3


async def test_events_are_read_in_both_directions(store: Store) -> None:
    await put(store, JOB)
    await store.jobs.tell([])
    await store.jobs.tell([EventRow("ftjob-1", float(at), f"event {at}", data={"at": at}) for at in range(4)])
    newest = await store.jobs.events("ftjob-1", limit=2)
    assert [row.message for row in newest] == ["event 3", "event 2"]
    assert newest[0].data == {"at": 3}
    older = await store.jobs.events("ftjob-1", after=newest[-1].id, limit=9)
    assert [row.message for row in older] == ["event 1", "event 0"]
    younger = await store.jobs.events("ftjob-1", after=older[0].id, limit=9, newest_first=False)
    assert [row.message for row in younger] == ["event 2", "event 3"]


async def test_checkpoints_are_replaced_and_forgotten(store: Store) -> None:
    await put(store, JOB)
    first, second = (CheckpointRow("ftjob-1", step, 1.0, "d" * 64, {"train_loss": 0.5}) for step in (10, 20))
    async with store.jobs.changing() as change:
        for row in (first, second, replace(first, adapter_version=3)):
            await change.put_checkpoint(row)
    assert await store.jobs.checkpoints("ftjob-1") == [second, replace(first, adapter_version=3)]
    await put(store, replace(JOB, status="succeeded", finished_at=5.0))
    assert [row.id for row in await store.jobs.ended_before(6.0)] == ["ftjob-1"]
    async with store.jobs.changing() as change:
        await change.drop_checkpoints("ftjob-1")
    assert await store.jobs.checkpoints("ftjob-1") == []
    assert await store.jobs.ended_before(6.0) == []


async def test_a_file_is_used_until_its_jobs_have_ended(store: Store) -> None:
    await put(store, JOB)
    for file in ("file-t", "file-v", "file-g"):
        assert await store.jobs.uses(file) == ["ftjob-1"]
    assert await store.jobs.uses("file-x") == []
    await put(store, replace(JOB, finished_at=2.0))
    assert await store.jobs.uses("file-t") == []


async def test_open_jobs_tell_on_which_base_an_adapter_will_stand(store: Store) -> None:
    await put(store, JOB, replace(JOB, id="ftjob-2"), replace(JOB, id="ftjob-3", base="other", finished_at=2.0))
    async with store.jobs.changing() as change:
        assert await change.bases_of("acme", adapter="support") == ["demo-small"]
        assert await change.bases_of("rival", adapter="support") == []
        assert await change.count("acme", "queued") == 3
    assert await store.jobs.counts() == {"queued": 3}


async def test_a_worker_is_heard_only_while_the_job_is_its_own(store: Store) -> None:
    await put(store, replace(JOB, status="running", attempt=2))
    heard = await store.jobs.beat("ftjob-1", attempt=2, now=5.0, values={"step": 3})
    assert heard is not None
    assert (heard.beat_at, heard.step) == (5.0, 3)
    assert await store.jobs.beat("ftjob-1", attempt=1, now=6.0, values={"step": 4}) is None
    await put(store, replace(heard, status="paused"))
    assert await store.jobs.beat("ftjob-1", attempt=2, now=6.0, values={}) is None


async def test_a_heartbeat_in_the_middle_of_a_change_is_not_undone_by_it(store: Store) -> None:
    await put(store, replace(JOB, status="running", attempt=1))
    async with store.jobs.changing() as change:
        row = await change.find("ftjob-1")
        assert row is not None
        beat = asyncio.create_task(store.jobs.beat("ftjob-1", attempt=1, now=5.0, values={"step": 3}))
        await asyncio.sleep(0.05)
        await change.put(replace(row, wanted="cancel"))
    heard = await beat
    assert heard is not None
    assert (heard.step, heard.wanted) == (3, "cancel")


async def test_a_change_that_raises_leaves_nothing(store: Store) -> None:
    async def broken() -> None:
        async with store.jobs.changing() as change:
            await change.put(JOB)
            await change.tell(EventRow("ftjob-1", 1.0, "made"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await broken()
    assert await store.jobs.find("ftjob-1") is None
    assert await store.jobs.events("ftjob-1", limit=9) == []


async def test_changes_come_one_after_the_other(store: Store) -> None:
    await put(store, JOB)

    async def one_more() -> None:
        async with store.jobs.changing() as change:
            row = await change.find("ftjob-1")
            assert row is not None
            await asyncio.sleep(0.01)
            await change.put(replace(row, step=row.step + 1))

    await asyncio.gather(*(one_more() for _ in range(6)))
    found = await store.jobs.find("ftjob-1")
    assert found is not None
    assert found.step == 6

"""What an org may keep, what a job reads, what expires, and what a gateway that died leaves behind."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.artifacts.folder import FolderSettings
from models.artifacts.store import ArtifactStore, open_artifacts
from models.errors import InvalidRequest, NotFound
from serving.adapters.registry import Received
from serving.adapters.releases import Actor
from serving.store.files import FileRow
from serving.store.store import Store
from serving.tuning.checked import RESULTS, checked
from serving.tuning.files import ORPHAN_S, FileAround, FileDesk, Told
from serving.tuning.inputs import KIND
from tests.serving.conftest import ManualClock
from tests.serving.store.test_files import JOB
from tests.serving.tuning.samples import chats

ACTOR = Actor("acme", "key")
TRAIN = Told("a.jsonl", "fine-tune")


class Desk:
    """A desk around one store, and what lies around it."""

    def __init__(self, store: Store, folder: Path, clock: ManualClock) -> None:
        self.store, self.folder, self.clock = store, folder, clock
        self.artifacts: ArtifactStore = open_artifacts(
            FolderSettings(path=folder / "artifacts"), home=folder, clock=clock
        )
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        around = FileAround(self.artifacts, self.work, max_bytes=2**20, org_max_bytes=3 * len(chats()), check=checked)
        self.desk = FileDesk(store.files, store.jobs, around=around, clock=clock)

    async def receive(self, told: Told = TRAIN, actor: Actor = ACTOR) -> FileRow:
        path = self.folder / "came.jsonl"
        path.write_bytes(chats())
        return await self.desk.receive(actor, Received(path, len(chats())), told=told)

    def names(self) -> list[str]:
        return self.artifacts.names(KIND)


@pytest.fixture
async def desk(store_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with Store.open(store_url) as store:
        yield Desk(store, tmp_path, ManualClock(time.time()))


async def test_an_org_keeps_so_many_bytes_and_has_room_again_after_a_deletion(desk: Desk) -> None:
    rows = [await desk.receive() for _ in range(3)]
    with pytest.raises(InvalidRequest, match="delete files"):
        await desk.receive()
    await desk.receive(actor=Actor("rival", "key"))
    await desk.desk.delete("acme", rows[0].id)
    await desk.receive()
    assert len(desk.names()) == 4


async def test_two_files_at_once_do_not_share_the_last_room(desk: Desk) -> None:
    for _ in range(2):
        await desk.receive()
    paths = [desk.folder / f"{n}.jsonl" for n in range(2)]
    for path in paths:
        path.write_bytes(chats())
    came = [desk.desk.receive(ACTOR, Received(path, len(chats())), told=TRAIN) for path in paths]
    done = await asyncio.gather(*came, return_exceptions=True)
    assert len(desk.names()) == 3
    assert sum(isinstance(one, InvalidRequest) for one in done) == 1


async def test_a_file_that_a_job_reads_stays_until_the_job_ends(desk: Desk) -> None:
    row = await desk.receive()
    job = replace(JOB, training_file=row.id)
    async with desk.store.jobs.changing() as change:
        await change.put(job)
    with pytest.raises(InvalidRequest, match="ftjob-1") as caught:
        await desk.desk.delete("acme", row.id)
    assert (caught.value.code, caught.value.param) == ("file_in_use", "file_id")
    async with desk.store.jobs.changing() as change:
        await change.put(replace(job, status="failed", finished_at=2.0))
    await desk.desk.delete("acme", row.id)
    assert desk.names() == []


async def test_a_job_and_a_deletion_at_once_are_never_both_done(desk: Desk) -> None:
    """Whoever comes second sees what the first one did."""
    for turn in range(6):
        row = await desk.receive()

        async def create(file: str, number: int) -> None:
            async with desk.store.jobs.changing() as change:
                if await change.files.find(file, org="acme") is None:
                    raise NotFound("no file")
                await asyncio.sleep(0)
                await change.put(replace(JOB, id=f"ftjob-{number}", training_file=file))

        both = [create(row.id, turn), desk.desk.delete("acme", row.id)]
        done = await asyncio.gather(*(both if turn % 2 else reversed(both)), return_exceptions=True)
        assert sum(isinstance(one, InvalidRequest | NotFound) for one in done) == 1
        there = await desk.store.files.find(row.id)
        assert (there is None) == (await desk.store.jobs.uses(row.id) == [])
        if there is not None:
            await desk.store.files.drop(row.id)


async def test_a_file_expires_at_its_moment_and_is_swept_once_no_job_reads_it(desk: Desk) -> None:
    row = await desk.receive(replace(TRAIN, expires_after_s=3600))
    async with desk.store.jobs.changing() as change:
        await change.put(replace(JOB, training_file=row.id))
    desk.clock.at += 3599
    assert (await desk.desk.show("acme", row.id)).id == row.id
    desk.clock.at += 1
    with pytest.raises(NotFound):
        await desk.desk.show("acme", row.id)
    assert (await desk.desk.page("acme", after=None, limit=9)).rows == []
    await desk.desk.sweep()
    assert desk.names() == [row.id]
    async with desk.store.jobs.changing() as change:
        await change.put(replace(JOB, training_file=row.id, status="cancelled", finished_at=2.0))
    await desk.desk.sweep()
    assert desk.names() == []
    assert await desk.store.files.find(row.id) is None


async def test_bytes_without_a_row_are_swept_within_an_hour_and_those_of_another_stack_stay(
    desk: Desk, tmp_path: Path
) -> None:
    kept = await desk.receive()
    lost = await desk.receive()
    await desk.store.files.drop(lost.id)
    draft = tmp_path / "theirs"
    draft.mkdir()
    (draft / "data.jsonl").write_bytes(chats())
    desk.artifacts.publish(draft, kind=KIND, name="file-ffffffffffffffffffff", about={})
    await desk.desk.sweep()
    assert len(desk.names()) == 3
    for path in (tmp_path / "artifacts").rglob("*"):
        os.utime(path, (desk.clock.now() - ORPHAN_S - 1,) * 2)
    await desk.desk.sweep()
    assert sorted(desk.names()) == sorted([kept.id, "file-ffffffffffffffffffff"])


async def test_a_file_of_a_job_is_kept_unchecked_and_beyond_the_limit(desk: Desk) -> None:
    for _ in range(3):
        await desk.receive()
    path = desk.folder / "metrics.csv"
    path.write_bytes(b"step,train_loss\n1,0.5\n")
    row = await desk.desk.keep(ACTOR, path, name="step_metrics.csv", source="ftjob-1")
    assert (row.purpose, row.bytes, path.exists()) == (RESULTS, 22, False)
    _, draft = await desk.desk.content("acme", row.id)
    assert draft.read_bytes() == b"step,train_loss\n1,0.5\n"


async def test_a_file_that_is_refused_leaves_nothing(desk: Desk) -> None:
    path = desk.folder / "bad.jsonl"
    path.write_bytes(chats() + b"x\n")
    with pytest.raises(InvalidRequest, match="line 13"):
        await desk.desk.receive(ACTOR, Received(path, 9), told=TRAIN)
    assert desk.names() == []
    assert list(desk.work.iterdir()) == []

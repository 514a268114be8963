"""What is kept of a job's checkpoints and files, and how long."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from models.errors import Unavailable
from serving.store.jobs import CheckpointRow, EventRow, JobRow
from serving.tuning.checkpoints import FINAL, Checkpoints
from serving.tuning.coordinator import DAY_S
from serving.tuning.trainers import FakeTrainers
from tests.serving.tuning.ground import Ground, NoFinish, coordinator_of


async def test_checkpoints_go_some_days_after_their_job_and_what_no_row_speaks_of_goes_too(ground: Ground) -> None:
    digests = [published(ground, name, text) for name, text in (("ftjob-1", "a"), ("ftjob-2", "b"), ("ftjob-2", "c"))]
    published(ground, "ftjob-foreign", "d")
    await ground.put("ftjob-1", status="failed", finished_at=ground.clock.now())
    await ground.put("ftjob-2", status="paused")
    for name, digest in zip(("ftjob-1", "ftjob-2"), digests, strict=False):
        async with ground.store.jobs.changing() as change:
            await change.put_checkpoint(CheckpointRow(name, 5, 1.0, digest, {}))
    ground.clock.at += 6 * DAY_S
    await ground.coordinator.clean()
    assert kept(ground) == {"ftjob-1": 1, "ftjob-2": 1, "ftjob-foreign": 1}
    ground.clock.at += 2 * DAY_S
    await ground.coordinator.clean()
    assert kept(ground) == {"ftjob-2": 1, "ftjob-foreign": 1}
    assert await ground.store.jobs.checkpoints("ftjob-1") == []


async def test_a_job_whose_adapter_cannot_be_read_trains_its_last_steps_again_when_it_is_resumed(
    ground: Ground,
) -> None:
    class Unreadable(NoFinish):
        async def rest(self, job: JobRow) -> None:
            raise Unavailable("The files of the adapter cannot be read from the artifact store.")

    parts: dict[str, Any] = {"trainers": ground.trainers, "finish": Unreadable()}
    coordinator = coordinator_of(ground.store, ground.artifacts, ground.clock, **parts)
    await ground.put("ftjob-1", status="running", phase="publishing", step=9, attempt=1)
    async with ground.store.jobs.changing() as change:
        await change.put_checkpoint(CheckpointRow("ftjob-1", 5, 1.0, published(ground, "ftjob-1", "a"), {}))
        final = CheckpointRow("ftjob-1", 9, 1.0, published(ground, "ftjob-1", "b"), {FINAL: True})
        await change.put_checkpoint(final)
    while (await ground.row()).status == "running":
        ground.clock.at += 60
        await coordinator.round()
        await asyncio.sleep(0)
    row = await ground.row()
    assert (row.error or {})["code"] == "publishing_failed"
    assert [one.step for one in await ground.store.jobs.checkpoints("ftjob-1")] == [5]
    await ground.put("ftjob-1", step=9)
    await coordinator.round()
    assert [plan.job for plan in ground.trainers.started] == ["ftjob-1"]


async def test_figures_of_steps_go_with_the_checkpoints_where_a_file_has_them(ground: Ground) -> None:
    for name, files in (("ftjob-1", ("file-1",)), ("ftjob-2", ())):
        await ground.put(name, status="succeeded", phase="done", finished_at=1.0, result_files=files)
        figures = EventRow(name, 1.0, "Step 1", type="metrics", data={"step": 1})
        await ground.store.jobs.tell([figures, EventRow(name, 2.0, "The training ended.")])
        checkpoints = Checkpoints(ground.store.jobs, ground.artifacts, clock=ground.clock)
        await checkpoints.forget(name, ended_before=ground.clock.now())
    kinds = {
        name: [one.type for one in await ground.store.jobs.events(name, limit=9)] for name in ("ftjob-1", "ftjob-2")
    }
    assert kinds == {"ftjob-1": ["message"], "ftjob-2": ["message", "metrics"]}


async def test_a_job_that_is_resumed_in_the_moment_of_cleaning_keeps_its_checkpoints(ground: Ground) -> None:
    digest = published(ground, "ftjob-1", "a")
    await ground.put("ftjob-1", status="queued")
    async with ground.store.jobs.changing() as change:
        await change.put_checkpoint(CheckpointRow("ftjob-1", 5, 1.0, digest, {}))
    checkpoints = Checkpoints(ground.store.jobs, ground.artifacts, clock=ground.clock)
    assert await checkpoints.forget("ftjob-1", ended_before=ground.clock.now()) == 0
    assert kept(ground) == {"ftjob-1": 1}


async def test_what_killed_workers_left_goes_when_their_jobs_are_not_trained_any_more(
    ground: Ground, tmp_path: Path
) -> None:
    work = tmp_path / "jobs"
    for name in ("ftjob-1", "ftjob-2", "ftjob-forgotten"):
        (work / name / "attempt-1").mkdir(parents=True)
        (work / name / "attempt-1" / "training.jsonl").write_text("{}")
    await ground.put("ftjob-1", status="running", phase="training", attempt=1)
    await ground.put("ftjob-2", status="cancelled", phase="done", finished_at=1.0)
    trainers, finish = FakeTrainers(), NoFinish()
    coordinator = coordinator_of(
        ground.store, ground.artifacts, ground.clock, trainers=trainers, finish=finish, work=work
    )
    await coordinator.clean()
    assert [path.name for path in work.iterdir()] == ["ftjob-1"]


def published(ground: Ground, job: str, text: str) -> str:
    folder = ground.folder / f"{job}-{text}"
    folder.mkdir()
    (folder / "state.json").write_text(f'"{text}"')
    return ground.artifacts.publish(folder, kind="checkpoint", name=job, about={}).digest


def kept(ground: Ground) -> dict[str, int]:
    names = ground.artifacts.names("checkpoint")
    return {name: len(ground.artifacts.versions("checkpoint", name)) for name in names}

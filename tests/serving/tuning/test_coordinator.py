"""Whose turn it is, who waits for what, and what is thrown away: with trainers that do as the test says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from models.artifacts.folder import FolderSettings
from models.artifacts.store import ArtifactStore, open_artifacts
from models.crash import CrashPoints
from serving.deploy.put_back import queued_again
from serving.settings import FineTuningSettings
from serving.store.jobs import CheckpointRow, EventRow, JobRow
from serving.store.store import Store
from serving.tuning.checkpoints import Checkpoints
from serving.tuning.coordinator import DAY_S, LEASE_S, Coordinator, Yard
from serving.tuning.finish import Finish
from serving.tuning.moves import Moves
from serving.tuning.plan import WorkerPlan
from serving.tuning.trainers import FakeTrainers, Life, Resources
from serving.tuning.watch import OBEY_S, START_S, WAIT_S
from serving.tuning.worker import last_wish
from tests.serving.adapters.stand import SMALL, base
from tests.serving.conftest import ManualClock
from tests.serving.tuning.yard import job_row, publish_lines


class NoFinish(Finish):
    """What comes after training is another test's."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def rest(self, job: JobRow) -> None:
        self.asked.append(job.id)


@dataclass
class Ground:
    """One coordinator, and what it works on."""

    store: Store
    clock: ManualClock
    trainers: FakeTrainers
    artifacts: ArtifactStore
    folder: Path
    finish: NoFinish
    coordinator: Coordinator

    async def put(self, *names: str, org: str = "acme", **values: Any) -> None:
        for name in names:
            row = replace(job_row(name, org=org, training_file="file-1"), **{"status": "queued", **values})
            async with self.store.jobs.changing() as change:
                await change.put(row)

    async def row(self, name: str = "ftjob-1") -> JobRow:
        row = await self.store.jobs.find(name)
        assert row is not None
        return row

    async def said(self, name: str = "ftjob-1") -> list[str]:
        return [row.message for row in await self.store.jobs.events(name, limit=100, newest_first=False)]

    async def pass_s(self, seconds: float, *, beat: bool = False) -> None:
        """Rounds, once a second, for so long."""
        for _ in range(int(seconds)):
            self.clock.at += 1
            if beat:
                row = await self.row()
                await self.store.jobs.beat(row.id, attempt=row.attempt, now=self.clock.now(), values={})
            await self.coordinator.round()


def coordinator_of(
    store: Store, artifacts: ArtifactStore, clock: ManualClock, *, gateway: str = "g0", **parts: Any
) -> Coordinator:
    """`parts`: trainers, finish, settings, gpus."""

    def plan(job: JobRow) -> WorkerPlan:
        places = dict.fromkeys(("artifacts_home", "fetched", "work", "model"), Path("nowhere"))
        settings = FolderSettings()
        return WorkerPlan(
            job=job.id, attempt=job.attempt, store_url="none", artifacts=settings, base=base(SMALL), **places
        )

    yard = Yard(
        store.jobs,
        store.views,
        artifacts,
        parts["trainers"],
        parts["finish"],
        plan=plan,
        resources=Resources(gpus=parts.get("gpus", 0)),
        work=parts.get("work", Path("nowhere")),
        settings=parts.get("settings") or FineTuningSettings(),
        gateway=gateway,
        clock=clock,
        crash=CrashPoints(None),
    )
    return Coordinator(yard)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def ground(store: Store, clock: ManualClock, tmp_path: Path) -> Ground:
    artifacts = open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path, clock=clock)
    publish_lines(artifacts, tmp_path, "file-1", [{}])
    trainers, finish = FakeTrainers(), NoFinish()
    made = coordinator_of(store, artifacts, clock, trainers=trainers, finish=finish, gpus=1)
    return Ground(store, clock, trainers, artifacts, tmp_path, finish, made)


async def test_an_org_with_many_jobs_does_not_keep_another_waiting(ground: Ground) -> None:
    await ground.put("ftjob-1", "ftjob-2", "ftjob-3")
    await ground.put("ftjob-4", org="rival", created_at=9.0)
    await ground.coordinator.round()
    assert [plan.job for plan in ground.trainers.started] == ["ftjob-1"]
    async with ground.store.jobs.changing() as change:
        await change.put(replace(await ground.row(), phase="judging"))
    await ground.coordinator.round()
    assert [plan.job for plan in ground.trainers.started] == ["ftjob-1", "ftjob-4"]
    assert ground.finish.asked == ["ftjob-1"]


async def test_a_job_whose_file_is_gone_fails_before_it_is_queued(ground: Ground) -> None:
    await ground.put("ftjob-1", status="validating_files", validation_file="file-gone")
    await ground.put("ftjob-2", status="validating_files")
    await ground.coordinator.round()
    row = await ground.row()
    assert row.error is not None
    assert (row.status, row.error["code"], row.error["param"]) == ("failed", "invalid_file", "validation_file")
    assert (await ground.row("ftjob-2")).status == "running"


async def test_a_job_that_nobody_can_look_after_does_not_hold_up_the_others(ground: Ground) -> None:
    """Such as one whose base is not served any more."""

    class Blind(FakeTrainers):
        async def alive(self, job: str, attempt: int) -> Life:
            if job == "ftjob-1":
                raise OSError("not there")
            return await super().alive(job, attempt)

        async def start(self, plan: WorkerPlan, resources: Resources) -> None:
            if plan.job == "ftjob-2":
                raise KeyError("base")
            await super().start(plan, resources)

    trainers = Blind()
    settings = FineTuningSettings(trainers=3)
    coordinator = coordinator_of(
        ground.store, ground.artifacts, ground.clock, trainers=trainers, finish=ground.finish, settings=settings
    )
    await ground.put("ftjob-1", status="running", phase="training", attempt=1)
    await ground.put("ftjob-2", "ftjob-3")
    await coordinator.round()
    assert [plan.job for plan in trainers.started] == ["ftjob-3"]


async def test_a_job_that_waits_for_a_gpu_says_so_once_and_is_not_lost(ground: Ground) -> None:
    ground.trainers.life["ftjob-1", 1] = "pending"
    await ground.put("ftjob-1")
    await ground.pass_s(START_S + WAIT_S)
    said = await ground.said()
    assert [text for text in said if "GPU" in text] == [
        "No GPU is free: serving holds it. The training begins as soon as one is."
    ]
    assert ((await ground.row()).status, (await ground.row()).attempt) == ("running", 1)


async def test_a_worker_that_falls_silent_is_killed_before_the_next_one_starts(ground: Ground) -> None:
    await ground.put("ftjob-1")
    await ground.pass_s(30, beat=True)
    assert ground.trainers.killed == []
    await ground.pass_s(19)
    assert ground.trainers.killed == []
    await ground.pass_s(3)
    assert ground.trainers.killed == [("ftjob-1", 1)]
    assert [plan.attempt for plan in ground.trainers.started] == [1, 2]
    assert "The worker was lost (it was silent for 21 s): beginning again." in await ground.said()


async def test_a_worker_that_hangs_after_its_first_sign_of_life_is_lost_and_does_not_wait_for_room(
    ground: Ground,
) -> None:
    await ground.put("ftjob-1")
    await ground.pass_s(5, beat=True)
    ground.trainers.life["ftjob-1", 1] = "pending"  # as Ray's actors look when they answer nothing
    await ground.pass_s(22)
    assert ground.trainers.killed == [("ftjob-1", 1)]
    assert not [text for text in await ground.said() if "GPU" in text]


async def test_a_worker_that_is_too_busy_to_answer_has_time_for_its_checkpoint(ground: Ground) -> None:
    await ground.put("ftjob-1")
    await ground.pass_s(3, beat=True)
    ground.trainers.life["ftjob-1", 1] = "pending"
    async with ground.store.jobs.changing() as change:
        await change.put(replace(await ground.row(), wanted="pause"))
    await ground.pass_s(60, beat=True)
    assert ground.trainers.killed == []
    await ground.pass_s(22)
    assert ground.trainers.killed == [("ftjob-1", 1)]
    assert (await ground.row()).status == "paused"


async def test_a_worker_is_not_lost_because_nobody_could_look(ground: Ground) -> None:
    await ground.put("ftjob-1")
    await ground.pass_s(5, beat=True)
    ground.clock.at += 300
    await ground.coordinator.round()
    assert ground.trainers.killed == []


async def test_what_was_heard_of_a_worker_is_forgotten_with_its_job(ground: Ground) -> None:
    await ground.put("ftjob-1", status="running", phase="training", attempt=1)
    ground.trainers.life["ftjob-1", 1] = "running"
    await ground.pass_s(2, beat=True)
    assert ground.coordinator.watched == {"ftjob-1"}
    await ground.put("ftjob-1", status="succeeded", phase="done", finished_at=1.0)
    await ground.coordinator.round()
    assert ground.coordinator.watched == set()


async def test_a_new_checkpoint_forgives_the_losses_before_it(ground: Ground) -> None:
    await ground.put("ftjob-1")
    await ground.coordinator.round()
    for attempt in (1, 2):
        ground.trainers.life["ftjob-1", attempt] = "gone"
        await ground.coordinator.round()
    async with ground.store.jobs.changing() as change:
        await change.put_checkpoint(CheckpointRow("ftjob-1", 50, 1.0, "a" * 64, {}))
    for attempt in (3, 4, 5):
        assert (await ground.row()).status == "running"
        ground.trainers.life["ftjob-1", attempt] = "gone"
        await ground.coordinator.round()
    row = await ground.row()
    assert row.error is not None
    assert (row.status, row.attempt, row.error["code"]) == ("failed", 5, "worker_lost")
    assert "The worker was lost (it is gone): resuming from step 50." in await ground.said()


@pytest.mark.parametrize(("wish", "status"), [("cancel", "cancelled"), ("pause", "paused")])
async def test_what_its_owner_wants_is_done_without_a_worker_that_does_not_obey(
    ground: Ground, wish: Any, status: str
) -> None:
    await ground.put("ftjob-1")
    await ground.pass_s(3, beat=True)
    async with ground.store.jobs.changing() as change:
        await change.put(replace(await ground.row(), wanted=wish))
    await ground.pass_s(OBEY_S[wish] - 1, beat=True)
    assert ground.trainers.killed == []
    await ground.pass_s(2)
    assert ground.trainers.killed == [("ftjob-1", 1)]
    assert ((await ground.row()).status, (await ground.row()).wanted) == (status, None)


async def test_a_job_that_waits_for_room_is_cancelled_at_once(ground: Ground) -> None:
    ground.trainers.life["ftjob-1", 1] = "pending"
    await ground.put("ftjob-1")
    await ground.coordinator.round()
    async with ground.store.jobs.changing() as change:
        await change.put(replace(await ground.row(), wanted="cancel"))
    await ground.coordinator.round()
    assert ground.trainers.killed == [("ftjob-1", 1)]
    assert (await ground.row()).status == "cancelled"


async def test_a_cancellation_that_comes_while_a_job_is_being_paused_is_not_lost(ground: Ground) -> None:
    await ground.put("ftjob-1", status="running", phase="training", attempt=1, wanted="pause")
    seen = await ground.row()
    async with ground.store.jobs.changing() as change:
        await change.put(replace(seen, wanted="cancel"))
    assert await Moves(ground.store.jobs, clock=ground.clock).obeyed(seen) is None
    assert last_wish(await ground.row(), "paused") == "cancelled"
    assert last_wish(seen, "paused") == "paused"
    await ground.coordinator.round()
    assert (await ground.row()).status == "cancelled"


@pytest.mark.parametrize("life", ["running", "pending"])
async def test_a_stack_that_is_stopped_again_and_again_costs_its_jobs_no_attempt(ground: Ground, life: Life) -> None:
    moves = Moves(ground.store.jobs, clock=ground.clock)
    await ground.put("ftjob-1")
    await ground.put("ftjob-2", status="running", phase="judging")
    for attempt in range(1, FineTuningSettings().attempts + 2):
        ground.trainers.life["ftjob-1", attempt] = life
        await ground.pass_s(WAIT_S + 2, beat=life == "running")
        row = await ground.row()
        assert (row.status, row.attempt) == ("running", attempt)
        await queued_again(ground.store.jobs, moves=moves)
        ground.trainers.life["ftjob-1", attempt] = "gone"
    assert ((await ground.row()).status, (await ground.row("ftjob-2")).phase) == ("queued", "judging")
    said = await ground.said()
    assert not [text for text in said if "lost" in text]
    assert next(text for text in said if "stopped" in text).endswith("goes on at its last checkpoint.")


async def test_a_stop_forgives_no_loss_before_it(ground: Ground) -> None:
    attempts = FineTuningSettings().attempts
    await ground.put("ftjob-1")
    for attempt in range(1, attempts + 1):
        await ground.coordinator.round()
        await queued_again(ground.store.jobs, moves=Moves(ground.store.jobs, clock=ground.clock))
        await ground.coordinator.round()
        ground.trainers.life["ftjob-1", 2 * attempt] = "gone"
        await ground.coordinator.round()
    assert (await ground.row()).status == "failed"


async def test_one_gateway_moves_jobs_until_its_lease_ends(ground: Ground) -> None:
    trainers = FakeTrainers()
    other = coordinator_of(
        ground.store, ground.artifacts, ground.clock, trainers=trainers, finish=ground.finish, gateway="g1"
    )
    await ground.coordinator.round()
    await ground.put("ftjob-1")
    await other.round()
    assert trainers.started == []
    ground.clock.at += LEASE_S + 1
    await other.round()
    assert [plan.job for plan in trainers.started] == ["ftjob-1"]
    await ground.coordinator.round()
    assert ground.trainers.started == []


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

"""Whose turn it is, and who waits for what: with trainers that do as the test says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from serving.deploy.put_back import queued_again
from serving.settings import FineTuningSettings
from serving.store.jobs import CheckpointRow
from serving.tuning.coordinator import LEASE_S
from serving.tuning.moves import Moves
from serving.tuning.plan import WorkerPlan
from serving.tuning.trainers import FakeTrainers, Life, Resources
from serving.tuning.watch import OBEY_S, START_S, WAIT_S
from serving.tuning.worker import last_wish
from tests.serving.tuning.ground import Ground, coordinator_of


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
        "A training takes 1 GPU, and serving and other trainings leave less. It begins as soon as there is room."
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

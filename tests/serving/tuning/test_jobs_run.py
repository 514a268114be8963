"""A job from its row to a served adapter, and every way in which its worker may be lost, stopped or too many."""

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.jobs import ENDED
from serving.store.adapters import AdapterRow
from serving.store.jobs import JobRow
from serving.tuning.fake_workshop import loss_at
from tests.serving.tuning.rows import put_file
from tests.serving.tuning.yard import Yard, job_row, opened_yard, publish_lines


def ended(row: JobRow) -> bool:
    return row.status in ENDED


async def trained_whole(yard: Yard, steps: int) -> None:
    """Every step was told, each with the loss that it has in a training that nothing interrupts."""
    losses = await yard.losses()
    assert sorted(losses) == list(range(1, steps + 1))
    assert all(set(found) == {loss_at(step)} for step, found in losses.items())


async def killed(yard: Yard, row: JobRow) -> None:
    pid = yard.trainers.pid(row.id, row.attempt)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_a_job_is_trained_judged_and_served_under_its_own_name(tmp_path: Path) -> None:
    async with opened_yard(tmp_path) as yard:
        await yard.created(steps=20)
        row = await yard.until(ended)
        assert (row.status, row.phase, row.error) == ("succeeded", "done", None)
        phases = [event.data["phase"] for event in await yard.events() if "phase" in event.data]
        assert phases == ["training", "publishing", "judging", "releasing", "done"]
        assert row.fine_tuned_model == "ft:demo-small:acme::1"
        assert (row.adapter_version, row.step, row.steps, row.trained_tokens) == (1, 20, 20, 200)
        assert row.report == {"judge": "none", "passed": True}
        assert row.trained_s > 0
        assert row.order is not None
        assert row.order["hyperparameters"]["lora_rank"] == 1
        await trained_whole(yard, 20)
        content = await yard.stand.ask("GET", f"/v1/files/{row.result_files[0]}/content")
        table = content.text.splitlines()
        assert (table[0], len(table)) == ("step,train_loss,valid_loss,learning_rate,tokens", 21)
        answer = await yard.stand.chat(row.fine_tuned_model)
        assert answer.headers["x-penstock-adapter-version"] == "1"
        assert (await yard.stand.chat("tuned-ftjob-1")).status_code == 404
        assert await yard.gone(row)
        assert list((tmp_path / "tuning" / "jobs").iterdir()) == []


async def test_a_job_whose_validation_file_is_parted_says_so(tmp_path: Path) -> None:
    async with opened_yard(tmp_path) as yard:
        publish_lines(yard.artifacts, tmp_path, "file-v", [{"at": at} for at in range(120)])
        publish_lines(yard.artifacts, tmp_path, "file-t", [{"fake": {"steps": 12}}])
        async with yard.jobs.changing() as change:
            await change.put(job_row("ftjob-1", training_file="file-t", validation_file="file-v"))
        assert (await yard.until(ended)).status == "succeeded"
        said = "60 lines of the validation file are kept for the gate: no look at the training uses them."
        assert (await yard.said()).count(said) == 1


async def test_two_workers_that_are_killed_are_followed_by_others_at_the_last_checkpoint(tmp_path: Path) -> None:
    async with opened_yard(tmp_path) as yard:
        await yard.created(steps=40, step_s=0.2)
        for step in (7, 23):
            await killed(yard, await yard.until(lambda row, step=step: row.status == "running" and row.step >= step))
        row = await yard.until(ended)
        assert (row.status, row.attempt) == ("succeeded", 3)
        await trained_whole(yard, 40)
        said = " ".join(await yard.said())
        lost = re.findall(r"The worker was lost \(it is gone\): resuming from step (\d+)\.", said)
        assert [int(step) % 5 for step in lost] == [0, 0]
        assert re.findall(r"Resuming from step (\d+)\.", said) == lost


@pytest.mark.parametrize(
    "point", ["tuning.saving.1", "tuning.saved.1", "tuning.kept.1", "tuning.training.1", "tuning.adapter_stored.1"]
)
async def test_a_worker_that_dies_inside_a_save_is_followed_by_another(tmp_path: Path, point: str) -> None:
    async with opened_yard(tmp_path, worker_crash_at=point) as yard:
        await yard.created(steps=12)
        row = await yard.until(ended)
        assert (row.status, row.attempt) == ("succeeded", 2)
        await trained_whole(yard, 12)
        kept = [one for one in await yard.checkpoints() if not one.metrics.get("final")]
        assert [one.step for one in kept] == [10, 5]


async def test_a_worker_that_dies_behind_its_choices_has_told_them(tmp_path: Path) -> None:
    async with opened_yard(tmp_path, worker_crash_at="tuning.chosen.1") as yard:
        await yard.created(steps=6)
        row = await yard.until(ended)
        assert (row.status, row.attempt) == ("succeeded", 2)
        assert (await yard.said()).count("n_epochs is 1: a fake needs no more.") == 1


async def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    async with opened_yard(tmp_path) as yard:
        await yard.created(steps=70, step_s=0.1)  # many: the worker hears wishes once a second
        await yard.until(lambda row: row.step >= 11)
        await yard.want("pause")
        row = await yard.until(lambda row: row.status == "paused")
        newest = (await yard.checkpoints())[0]
        (tmp_path / "artifacts" / "checkpoint" / row.id / newest.digest[:12] / "state.safetensors").unlink()
        await yard.stand.ask("POST", f"/v1/fine_tuning/jobs/{row.id}/resume")
        assert (await yard.until(ended)).status == "succeeded"
        assert f"The checkpoint of step {newest.step} is damaged and passed over." in await yard.said()
        await trained_whole(yard, 70)


async def test_workers_that_are_lost_again_and_again_without_a_checkpoint_fail_their_job(tmp_path: Path) -> None:
    async with opened_yard(tmp_path, attempts=2) as yard:
        await yard.created(steps=1000, step_s=10)
        for attempt in (1, 2):
            row = await yard.until(lambda row, attempt=attempt: row.attempt == attempt and row.beat_at is not None)
            await killed(yard, row)
        row = await yard.until(ended)
        assert row.status == "failed"
        assert row.error is not None
        assert row.error["code"] == "worker_lost"


async def test_a_job_is_cancelled_while_it_trains_and_nothing_is_published(tmp_path: Path) -> None:
    async with opened_yard(tmp_path) as yard:
        await yard.created(steps=1000, step_s=0.05)
        await yard.until(lambda row: row.step >= 5)
        await yard.want("cancel")
        row = await yard.until(ended, within_s=30)
        assert (row.status, row.fine_tuned_model, row.adapter_version, row.wanted) == ("cancelled", None, None, None)
        assert yard.artifacts.names("adapter") == []
        assert await yard.gone(row)


async def test_a_worker_that_hears_nothing_is_ended_when_its_job_is_cancelled(tmp_path: Path) -> None:
    async with opened_yard(tmp_path) as yard:
        await yard.created(steps=1000, step_s=0.05, obeys=False)
        await yard.until(lambda row: row.step >= 5)
        await yard.want("cancel")
        row = await yard.until(ended, within_s=30)
        assert row.status == "cancelled"
        assert await yard.gone(row)
        assert yard.artifacts.names("adapter") == []


async def test_a_paused_job_goes_on_where_it_was(tmp_path: Path) -> None:
    async with opened_yard(tmp_path) as yard:
        await yard.created(steps=120, step_s=0.05)  # many: the worker hears wishes once a second
        await yard.until(lambda row: row.step >= 7)
        await yard.want("pause")
        row = await yard.until(lambda row: row.status == "paused")
        assert (await yard.checkpoints())[0].step == row.step
        asked = await yard.stand.ask("POST", f"/v1/fine_tuning/jobs/{row.id}/resume")
        assert asked.status_code == 200
        assert (await yard.until(ended)).status == "succeeded"
        await trained_whole(yard, 120)
        assert all(len(found) == 1 for found in (await yard.losses()).values())


async def test_an_adapter_that_is_refused_is_kept_and_published_when_its_job_is_resumed(tmp_path: Path) -> None:
    """Whatever takes the name meanwhile: hours of training do not end in nothing."""
    async with opened_yard(tmp_path) as yard:
        created = await yard.created(steps=10, step_s=0.1)
        await put_file(yard.stand.store, created.training_file)
        taken = AdapterRow("adp-other", "acme", created.adapter, "demo-large", "key", 1.0)
        async with yard.stand.store.adapters.changing() as change:
            await change.put_adapter(taken)
        row = await yard.until(ended)
        assert row.error is not None
        assert (row.status, row.error["code"]) == ("failed", "adapter_invalid")
        assert f"{created.adapter!r} stands on 'demo-large'" in row.error["message"]
        assert "resume the job" in row.error["message"]
        refused = await yard.stand.ask("POST", f"/v1/fine_tuning/jobs/{row.id}/resume")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "already_exists")
        await yard.stand.ask("DELETE", f"/v1/adapters/{created.adapter}")
        assert (await yard.stand.ask("POST", f"/v1/fine_tuning/jobs/{row.id}/resume")).status_code == 200
        again = await yard.until(ended)
        assert (again.status, again.attempt) == ("succeeded", row.attempt)
        assert all(len(found) == 1 for found in (await yard.losses()).values())
        assert (await yard.stand.chat(str(again.fine_tuned_model))).status_code == 200


async def test_a_training_that_fails_fails_its_job_at_once(tmp_path: Path) -> None:
    async with opened_yard(tmp_path) as yard:
        await yard.created(steps=20, fails_at=3)
        row = await yard.until(ended)
        assert (row.status, row.attempt) == ("failed", 1)
        assert row.error == {
            "code": "diverged",
            "message": "The loss is not a number since step 3.",
            "param": None,
            "line": None,
        }
        assert yard.artifacts.names("adapter") == []


async def test_a_job_ends_at_its_limit_of_cost(tmp_path: Path) -> None:
    async with opened_yard(tmp_path, usd_per_million_tokens=1e6) as yard:
        await yard.created(steps=20, asked={"penstock": {"max_cost_usd": 50}})
        row = await yard.until(ended)
        assert (row.status, row.step) == ("failed", 0)
        assert row.error is not None
        assert row.error["code"] == "limit_reached"
        assert "200.00 US dollars" in row.error["message"]


async def test_two_gateways_never_start_two_workers_for_one_job(tmp_path: Path) -> None:
    async with opened_yard(tmp_path, gateways=2, trainers=2) as yard:
        for name in ("ftjob-1", "ftjob-2", "ftjob-3"):
            await yard.created(name, steps=20)
        rows = [await yard.until(ended, name) for name in ("ftjob-1", "ftjob-2", "ftjob-3")]
        assert [(row.status, row.attempt) for row in rows] == [("succeeded", 1)] * 3
        started = sorted(path.name for path in (tmp_path / "trainers").glob("*.lock"))
        assert started == ["ftjob-1.1.lock", "ftjob-2.1.lock", "ftjob-3.1.lock"]


async def test_a_worker_whose_job_is_anothers_ends_without_a_word(tmp_path: Path) -> None:
    async with opened_yard(tmp_path) as yard:
        await yard.created(steps=1000, step_s=0.05)
        row = await yard.until(lambda row: row.step >= 3)
        async with yard.jobs.changing() as change:
            found = await change.find(row.id)
            assert found is not None
            await change.put(replace(found, status="paused", phase="waiting"))
        assert await yard.gone(row)
        assert (await yard.row()).status == "paused"

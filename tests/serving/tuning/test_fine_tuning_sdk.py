"""The unpatched OpenAI SDK makes, follows and ends jobs, and deletes what came of one."""

from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from serving.store.adapters import AliasRow
from serving.store.jobs import CheckpointRow, EventRow
from tests.serving.adapters.stand import SMALL, Stand
from tests.serving.tuning.rows import move

MODEL = f"ft:{SMALL}:acme:support:1"


@pytest.fixture
async def client(desk: Stand) -> AsyncIterator[AsyncOpenAI]:
    url = f"{desk.urls[0]}/v1"
    async with AsyncOpenAI(base_url=url, api_key=desk.keys["engineer"], max_retries=0) as made:
        yield made


async def named(stand: Stand, version: int, name: str = MODEL) -> None:
    """Point a system's own name to a version of `bot`, as a release does."""
    adapter = await stand.store.adapters.find("acme", "bot")
    assert adapter is not None
    async with stand.store.adapters.changing() as change:
        await change.put_alias(AliasRow("acme", name, adapter.id, ((version, 100.0),), 1.0))


async def test_a_job_is_made_listed_and_followed(desk: Stand, client: AsyncOpenAI) -> None:
    jobs = client.fine_tuning.jobs
    job = await jobs.create(
        model=SMALL,
        training_file="file-train",
        suffix="support",
        seed=5,
        metadata={"team": "a"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        extra_body={"penstock": {"auto_promote": "canary", "canary_weight": 5}},
    )
    assert (job.object, job.status, job.seed, job.organization_id) == ("fine_tuning.job", "validating_files", 5, "acme")
    assert job.hyperparameters.n_epochs == 2
    assert job.method is not None
    assert job.method.supervised is not None
    assert (job.error, job.fine_tuned_model, job.metadata) == (None, None, {"team": "a"})
    other = await jobs.create(model=SMALL, training_file="file-train")
    assert [one.id async for one in jobs.list(limit=1)] == [other.id, job.id]
    assert [one.id async for one in jobs.list(extra_query={"metadata[team]": "a"})] == [job.id]
    assert await jobs.retrieve(job.id) == job


async def test_events_and_checkpoints_come_page_by_page(desk: Stand, client: AsyncOpenAI) -> None:
    job = (await client.fine_tuning.jobs.create(model=SMALL, training_file="file-train")).id
    told = [EventRow(job, 1.25, f"Step {at}", type="metrics", data={"step": at, "train_loss": 0.5}) for at in range(5)]
    await desk.store.jobs.tell(told)
    async with desk.store.jobs.changing() as change:
        for step in (10, 20, 30):
            await change.put_checkpoint(CheckpointRow(job, step, 1.0, "d" * 64, {"train_loss": 0.25}))
    events = [event async for event in client.fine_tuning.jobs.list_events(job, limit=2)]
    assert [event.message for event in events[:2]] == ["Step 4", "Step 3"]
    assert (len(events), len({event.id for event in events}), events[0].type) == (6, 6, "metrics")
    shown = events[0].model_dump()  # whole seconds where OpenAI has them, and the moment itself
    assert (shown["created_at"], shown["penstock"]) == (1, {"at": 1.25})
    found = [one async for one in client.fine_tuning.jobs.checkpoints.list(job, limit=2)]
    assert [one.step_number for one in found] == [30, 20, 10]
    assert (found[0].metrics.train_loss, found[0].fine_tuning_job_id) == (0.25, job)
    assert found[0].fine_tuned_model_checkpoint.endswith(":ckpt-step-30")


async def test_a_job_is_paused_resumed_and_cancelled(desk: Stand, client: AsyncOpenAI) -> None:
    jobs = client.fine_tuning.jobs
    job = (await jobs.create(model=SMALL, training_file="file-train")).id
    await move(desk.store, job, status="queued")
    assert str((await jobs.pause(job)).status) == "paused"
    assert (await jobs.resume(job)).status == "queued"
    assert [(await jobs.cancel(job)).status for _ in range(2)] == ["cancelled", "cancelled"]
    with pytest.raises(BadRequestError):
        await jobs.resume(job)


async def test_a_job_that_succeeded_or_failed_tells_so(desk: Stand, client: AsyncOpenAI) -> None:
    jobs = client.fine_tuning.jobs
    job = (await jobs.create(model=SMALL, training_file="file-train")).id
    done = {"phase": "done", "finished_at": 9.0, "trained_tokens": 1234}
    await move(desk.store, job, status="succeeded", fine_tuned_model=MODEL, result_files=("file-r",), **done)
    found = await jobs.retrieve(job)
    assert (found.fine_tuned_model, found.trained_tokens, found.result_files) == (MODEL, 1234, ["file-r"])
    error = {"code": "invalid_data", "message": "Line 7 is not JSON.", "param": "training_file", "line": 7}
    await move(desk.store, job, status="failed", fine_tuned_model=None, error=error, **done)
    failed = await jobs.retrieve(job)
    assert failed.error is not None
    assert (failed.error.code, failed.error.param) == ("invalid_data", "training_file")


async def test_a_fine_tuned_model_is_deleted_with_its_version(desk: Stand, client: AsyncOpenAI) -> None:
    await desk.push(1)
    await desk.push(2)
    await desk.promote(1)
    await desk.promote(2)
    await named(desk, 1)
    gone = await client.models.delete(MODEL)
    assert (gone.id, gone.deleted) == (MODEL, True)
    assert await desk.states() == {2: "ready"}
    assert MODEL not in [model.id for model in (await client.models.list()).data]
    assert (await desk.chat()).status_code == 200
    with pytest.raises(NotFoundError):
        await client.models.delete(MODEL)


async def test_of_two_models_of_one_version_each_is_deleted_and_the_last_one_takes_the_version(
    desk: Stand, client: AsyncOpenAI
) -> None:
    """Two trainings of the same data, numbers and seed make the same files, which are one version."""
    await desk.push(1)
    await desk.promote(1)
    twin = f"{MODEL}2"
    for name in (MODEL, twin):
        await named(desk, 1, name)
    async with desk.store.adapters.changing() as change:
        await change.drop_alias("acme", "bot")
    assert (await client.models.delete(MODEL)).deleted
    assert (await desk.chat(twin)).status_code == 200
    assert (await client.models.delete(twin)).deleted
    assert await desk.states() == {}


async def test_what_another_name_serves_and_what_is_no_tuned_model_is_not_deleted(
    desk: Stand, client: AsyncOpenAI
) -> None:
    await desk.push(1)
    await desk.promote(1)
    await named(desk, 1)
    with pytest.raises(BadRequestError, match="'bot' serves this version"):
        await client.models.delete(MODEL)
    with pytest.raises(BadRequestError, match="Only a fine-tuned model"):
        await client.models.delete(SMALL)
    theirs = await desk.ask("DELETE", f"/v1/models/{MODEL}", key="rival")
    missing = await desk.ask("DELETE", "/v1/models/ft:nope", key="rival")
    assert (theirs.status_code, theirs.content) == (404, missing.content)
    assert (await desk.chat()).status_code == 200

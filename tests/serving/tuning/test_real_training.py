"""A real recipe in a real worker, killed on its way: from lines to a version, which the gate does not let through."""

import os
import signal
from dataclasses import replace
from pathlib import Path

from models.artifacts.folder import FolderSettings
from models.artifacts.store import open_artifacts
from models.catalog import Catalog, ModelStore
from serving.store.store import Store
from serving.tuning.plan import WorkerPlan
from serving.tuning.trainers import ProcessTrainers, Resources
from tests.finetune.tiny import members_of
from tests.serving.adapters.stand import SMALL, base, until
from tests.serving.tuning.yard import Yard, job_row, opened_yard, publish_lines

LINES = [
    {"messages": [{"role": "user", "content": f"say {word} {n}"}, {"role": "assistant", "content": f"{word} it is"}]}
    for n in range(8)
    for word in ("red", "blue", "green", "black", "white")
]
NUMBERS = {"n_epochs": 10, "batch_size": 4, "max_length": 128, "checkpoint_every": 4, "lora_rank": 4}


async def begun(yard: Yard) -> None:
    for file in ("file-t", "file-v"):
        publish_lines(yard.artifacts, yard.folder, file, LINES)
    asked = {"hyperparameters": NUMBERS}
    row = job_row("ftjob-real", asked=asked, training_file="file-t", validation_file="file-v")
    async with yard.jobs.changing() as change:
        await change.put(row)


async def test_a_real_training_survives_its_worker_and_what_learned_nothing_is_not_served(tmp_path: Path) -> None:
    async with opened_yard(tmp_path, trade="recipes", threads=1) as yard:
        await begun(yard)
        row = await yard.until(lambda row: row.step >= 5 or row.finished_at, "ftjob-real", within_s=200)
        pid = yard.trainers.pid(row.id, row.attempt)
        assert pid is not None, row
        os.kill(pid, signal.SIGKILL)
        row = await yard.until(lambda row: row.finished_at is not None, "ftjob-real", within_s=200)
        assert (row.status, (row.error or {})["code"]) == ("failed", "gate_failed"), row
        assert (row.step, row.steps, row.attempt, row.adapter_version) == (100, 100, 2, 1)
        assert row.fine_tuned_model is None
        losses = await yard.losses("ftjob-real")
        assert sorted(losses) == list(range(1, 101))
        assert losses[100][-1] < losses[1][0]
        for told in losses.values():  # what was trained again was trained as before
            assert max(told) - min(told) < 1e-6


async def test_a_killed_worker_of_several_processes_takes_them_along(tmp_path: Path) -> None:
    artifacts, url = FolderSettings(path=tmp_path / "artifacts"), f"sqlite+aiosqlite:///{tmp_path / 'penstock.db'}"
    publish_lines(open_artifacts(artifacts, home=tmp_path), tmp_path, "file-t", LINES)
    plan = WorkerPlan(
        job="ftjob-two",
        attempt=1,
        store_url=url,
        artifacts=artifacts,
        artifacts_home=tmp_path,
        fetched=tmp_path / "fetched",
        work=tmp_path / "work",
        model=ModelStore(None).resolve(Catalog.load(None).card(SMALL)),
        base=base(SMALL),
        threads=1,
        processes=2,
    )
    trainers = ProcessTrainers(tmp_path / "trainers")
    async with Store.open(url) as store:
        asked = {"hyperparameters": {**NUMBERS, "n_epochs": 50}}
        row = job_row(plan.job, asked=asked, training_file="file-t", attempt=1)
        async with store.jobs.changing() as change:
            await change.put(replace(row, status="running", phase="training"))
        await trainers.start(plan, Resources())

        async def begun() -> bool:
            found = await store.jobs.find(plan.job)
            return found is not None and found.step >= 2

        await until(begun, within_s=200)
        leader = trainers.pid(plan.job, 1)
        assert leader is not None
        assert len(members_of(plan.folder)) == 1
        os.kill(leader, signal.SIGKILL)

        async def ended() -> bool:
            return not members_of(plan.folder)

        await until(ended, within_s=20)
    trainers.close()

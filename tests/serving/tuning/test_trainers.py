"""What every kind of trainers does: one worker per attempt, seen by whoever asks, and ended for sure."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from models.artifacts.folder import FolderSettings
from models.artifacts.store import open_artifacts
from models.catalog import Catalog, ModelStore
from serving.store.store import Store
from serving.tuning.plan import WorkerPlan
from serving.tuning.ray_trainers import RayTrainers, end_all
from serving.tuning.trainers import ProcessTrainers, Resources, Trainers
from tests.serving.adapters.stand import SMALL, base, until
from tests.serving.tuning.yard import job_row, publish_lines

JOB = "ftjob-1"


@pytest.fixture(params=["process", "ray"])
def trainers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trainers]:
    """Of each kind."""
    if request.param == "process":
        made = ProcessTrainers(tmp_path / "trainers")
        yield made
        made.close()
    else:
        request.getfixturevalue("ray_node")
        yield RayTrainers()
        end_all()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(url(tmp_path)) as opened:
        yield opened


def url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'penstock.db'}"


async def planned(folder: Path, store: Store, name: str = JOB, *, steps: int = 1000) -> WorkerPlan:
    """A running job and the plan of its worker."""
    artifacts = FolderSettings(path=folder / "artifacts")
    lines = [{"fake": {"steps": steps, "step_s": 0.05}}]
    publish_lines(open_artifacts(artifacts, home=folder), folder, f"file-{name}", lines)
    row = job_row(name, training_file=f"file-{name}", attempt=1)
    async with store.jobs.changing() as change:
        await change.put(replace(row, status="running", phase="training"))
    return WorkerPlan(
        job=name,
        attempt=1,
        store_url=url(folder),
        artifacts=artifacts,
        artifacts_home=folder,
        fetched=folder / "fetched",
        work=folder / "work",
        model=ModelStore(None).resolve(Catalog.load(None).card(SMALL)),
        base=base(SMALL),
        trade="fake",
        beat_s=0.1,
    )


async def is_(trainers: Trainers, life: str, job: str = JOB) -> bool:
    async def so() -> bool:
        return await trainers.alive(job, 1) == life

    await until(so, within_s=60)
    return True


async def test_a_worker_runs_once_and_is_dead_when_it_was_killed(
    trainers: Trainers, store: Store, tmp_path: Path
) -> None:
    plan = await planned(tmp_path, store)
    assert await trainers.alive(JOB, 1) == "gone"
    await trainers.start(plan, Resources())
    assert await is_(trainers, "running")

    async def trains() -> bool:
        found = await store.jobs.find(JOB)
        return found is not None and found.step > 3

    await until(trains, within_s=60)
    await trainers.start(plan, Resources())
    row = await store.jobs.find(JOB)
    assert row is not None
    assert row.worker is not None
    await trainers.kill(JOB, 1)
    assert await trainers.alive(JOB, 1) == "gone"

    async def dead() -> bool:
        return not running(row.worker["pid"]) if row.worker else False

    await until(dead, within_s=10)
    await trainers.kill(JOB, 1)


async def test_a_worker_that_is_done_is_gone(trainers: Trainers, store: Store, tmp_path: Path) -> None:
    await trainers.start(await planned(tmp_path, store, steps=3), Resources())

    async def trained() -> bool:
        found = await store.jobs.find(JOB)
        return found is not None and found.phase == "publishing"

    await until(trained, within_s=60)
    assert await is_(trainers, "gone")


@pytest.mark.usefixtures("ray_node")
async def test_a_worker_waits_while_the_cluster_has_no_room_and_can_be_killed_there(
    store: Store, tmp_path: Path
) -> None:
    trainers = RayTrainers()
    await trainers.start(await planned(tmp_path, store), Resources())
    assert await is_(trainers, "running")
    await trainers.start(await planned(tmp_path, store, "ftjob-2"), Resources())
    assert await trainers.alive("ftjob-2", 1) == "pending"
    await trainers.kill("ftjob-2", 1)
    assert await trainers.alive("ftjob-2", 1) == "gone"
    assert end_all() == 1
    assert await is_(trainers, "gone")


def running(pid: int) -> bool:
    """Whether a process lives; one that has ended and was not asked for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" and pid != os.getpid()
    except OSError:
        return False

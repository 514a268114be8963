"""A coordinator without a gateway: its clock moves by hand, and its trainers are fakes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.artifacts.folder import FolderSettings
from models.artifacts.store import ArtifactStore
from models.crash import CrashPoints
from serving.settings import FineTuningSettings
from serving.store.jobs import JobRow
from serving.store.store import Store
from serving.tuning.coordinator import Coordinator, Yard
from serving.tuning.finish import Finish
from serving.tuning.plan import WorkerPlan
from serving.tuning.trainers import FakeTrainers, Resources
from tests.serving.adapters.stand import SMALL, base
from tests.serving.conftest import ManualClock
from tests.serving.tuning.yard import job_row


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

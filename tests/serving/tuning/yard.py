"""A stand of adapters whose gateways move fine-tuning jobs: workers are processes, trainings are fakes of some ms."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.artifacts.folder import FolderSettings
from models.artifacts.store import ArtifactStore, open_artifacts
from models.catalog import Catalog, ModelStore
from serving.app import GatewayParts
from serving.settings import load_settings
from serving.store.jobs import CheckpointRow, EventRow, JobRow, JobTable
from serving.testing import StaticDirectory
from serving.tuning.inputs import DATA, KIND
from serving.tuning.open import TuningParts
from serving.tuning.plan import Trade
from serving.tuning.trainers import ProcessTrainers
from tests.serving.adapters.stand import CARDS, PROFILE, SMALL, Stand, opened_gateway, opened_stand, parts_of, until

ORG = "acme"


@dataclass
class Yard:
    """The stand, its trainers, and what tests ask of jobs."""

    folder: Path
    stand: Stand
    trainers: ProcessTrainers
    artifacts: ArtifactStore

    @property
    def jobs(self) -> JobTable:
        return self.stand.store.jobs

    async def created(self, name: str = "ftjob-1", *, org: str = ORG, asked: Any = None, **fake: Any) -> JobRow:
        """A job with a file of its own. `fake`: how its training behaves."""
        file = f"file-{name}"
        publish_lines(self.artifacts, self.folder, file, [{"fake": fake}])
        row = job_row(name, org=org, asked=asked or {}, training_file=file)
        async with self.jobs.changing() as change:
            await change.put(row)
        return row

    async def row(self, name: str = "ftjob-1") -> JobRow:
        row = await self.jobs.find(name)
        assert row is not None
        return row

    async def until(self, so: Callable[[JobRow], Any], name: str = "ftjob-1", *, within_s: float = 60) -> JobRow:
        """The job once this holds of it."""

        async def holds() -> bool:
            return bool(so(await self.row(name)))

        try:
            await until(holds, within_s=within_s)
        except TimeoutError:
            raise AssertionError(f"{await self.row(name)}\n{await self.said(name)}") from None
        return await self.row(name)

    async def want(self, wanted: Any, name: str = "ftjob-1") -> None:
        """Its owner's wish."""
        async with self.jobs.changing() as change:
            row = await change.find(name)
            assert row is not None
            await change.put(replace(row, wanted=wanted))

    async def events(self, name: str = "ftjob-1", type: str = "message") -> list[EventRow]:
        """Oldest first."""
        rows = await self.jobs.events(name, limit=10_000, newest_first=False)
        return [row for row in rows if row.type == type]

    async def said(self, name: str = "ftjob-1") -> list[str]:
        return [row.message for row in await self.events(name)]

    async def losses(self, name: str = "ftjob-1") -> dict[int, list[float]]:
        """By step, each loss that was told of it."""
        found: dict[int, list[float]] = {}
        for row in await self.events(name, "metrics"):
            found.setdefault(row.data["step"], []).append(row.data["train_loss"])
        return found

    async def gone(self, row: JobRow, *, within_s: float = 20) -> bool:
        """Whether the worker of this attempt ends."""

        async def is_gone() -> bool:
            return await self.trainers.alive(row.id, row.attempt) == "gone"

        await until(is_gone, within_s=within_s)
        return True

    async def checkpoints(self, name: str = "ftjob-1") -> list[CheckpointRow]:
        return await self.jobs.checkpoints(name)


def job_row(name: str, *, org: str = ORG, asked: Any = None, training_file: str = "file-1", **values: Any) -> JobRow:
    """A new job."""
    return JobRow(
        id=name,
        org=org,
        user="ann",
        created_by="key",
        created_at=1.0,
        status="validating_files",
        phase="waiting",
        state_at=1.0,
        base=SMALL,
        asked={"model": SMALL, "seed": 7, **(asked or {})},
        training_file=training_file,
        adapter=f"tuned-{name}",
        **values,
    )


def publish_lines(artifacts: ArtifactStore, folder: Path, file: str, lines: list[Any]) -> None:
    """A training file, as an upload leaves it."""
    place = folder / "uploads" / file
    place.mkdir(parents=True)
    (place / DATA).write_text("".join(json.dumps(line) + "\n" for line in lines))
    artifacts.publish(place, kind=KIND, name=file, about={})


def tuned_parts(
    folder: Path,
    directory: StaticDirectory,
    workers: Any,
    *,
    url: str,
    gateway: str,
    crash_at: str | None = None,
    worker_crash_at: str | None = None,
    trade: Trade = "fake",
    **settings: Any,
) -> GatewayParts:
    """One gateway that moves jobs. `settings`: of the section `fine_tuning`."""
    (folder / "profile.yaml").write_text(PROFILE)
    overrides = {"adapters": {"warm_s": 30, "gone_s": 1.0}, "fine_tuning": {"lost_s": 5, **settings}}
    loaded = load_settings(str(folder / "profile.yaml"), overrides)
    store, catalog = ModelStore(None), Catalog.load(None)
    tuning = TuningParts(
        workers,
        models={card: str(store.resolve(catalog.card(card))) for card in CARDS},
        work=str(folder / "tuning"),
        trade=trade,
        worker_crash_at=worker_crash_at,
    )
    return replace(parts_of(folder, loaded, directory, url=url, gateway=gateway, crash_at=crash_at), tuning=tuning)


@asynccontextmanager
async def opened_yard(
    folder: Path, *, gateways: int = 1, worker_crash_at: str | None = None, **settings: Any
) -> AsyncIterator[Yard]:
    """`settings`: of the section `fine_tuning`."""
    async with AsyncExitStack() as opened:
        stand = await opened.enter_async_context(opened_stand(folder, gateways=0, replicas=1))
        workers = ProcessTrainers(folder / "trainers")
        opened.callback(workers.close)
        url = url_of(stand)
        for at in range(gateways):
            parts = tuned_parts(
                folder,
                stand.directory,
                workers,
                url=url,
                gateway=f"g{at}",
                worker_crash_at=worker_crash_at,
                **settings,
            )
            stand.urls.append(await opened.enter_async_context(opened_gateway(parts)))
        artifacts = open_artifacts(FolderSettings(path=folder / "artifacts"), home=folder)
        yield Yard(folder, stand, workers, artifacts)


def url_of(stand: Stand) -> str:
    return stand.store.database.engine.url.render_as_string(hide_password=False)

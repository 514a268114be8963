"""Fine-tuning in a gateway, put together: what moves jobs, while a block is open. Names no trainer: that comes in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from models.adapters.foundation import BaseModel
from models.artifacts import ArtifactStoreSettings
from models.artifacts.store import ArtifactStore
from models.clock import Clock
from models.crash import CrashPoints
from models.privacy import private_folder
from serving.adapters.registry import AdapterRegistry
from serving.adapters.releases import Releases
from serving.settings import FineTuningSettings
from serving.store.jobs import JobRow
from serving.store.store import Store
from serving.tuning.asking import Ask
from serving.tuning.coordinator import Coordinator, Yard
from serving.tuning.files import FileDesk
from serving.tuning.finish import Finish, Way
from serving.tuning.golden_files import StoredGoldenFiles
from serving.tuning.judge import StackJudge
from serving.tuning.plan import Trade, WorkerPlan
from serving.tuning.results import StepMetrics
from serving.tuning.trainers import Resources, Trainers
from serving.tuning.verdict import Judge, LenientJudge


@dataclass(frozen=True, slots=True)
class TuningParts:
    """What fine-tuning needs beyond adapters. `models`: folder with a base's weights, by card; `work`: folder for
    trainings and drafts; `gpu`: trainings run on one. The rest is for tests alone.
    """

    trainers: Trainers
    models: Mapping[str, str]
    work: str
    gpu: bool = False
    trade: Trade = "recipes"
    worker_crash_at: str | None = None


@dataclass(frozen=True, slots=True)
class Ground:
    """What of the gateway fine-tuning stands on. `home`, `fetched`: folders of the artifact store; `files`: takes the
    figures of each training.
    """

    store: Store
    store_url: str
    artifacts: ArtifactStore
    artifact_settings: ArtifactStoreSettings
    home: str
    fetched: str
    bases: Mapping[str, BaseModel]
    files: FileDesk
    registry: AdapterRegistry
    releases: Releases
    settings: FineTuningSettings
    gateway: str
    clock: Clock
    crash_at: str | None = None


@asynccontextmanager
async def open_tuning(parts: TuningParts | None, ground: Ground | None, *, ask: Ask) -> AsyncIterator[Finish | None]:
    """Move jobs while the block is open; nothing where no adapter can be served."""
    if parts is None or ground is None:
        structlog.get_logger().info("fine_tuning_off", reason="no engine of this stack loads adapters")
        yield None
        return
    drafts = Path(parts.work) / "drafts"
    private_folder(drafts)
    crash = CrashPoints(ground.crash_at)
    results = StepMetrics(ground.store.jobs, ground.files)
    judge = judge_of(parts, ground, ask=ask)
    way = Way(ground.registry, ground.releases, judge, ground.artifacts, drafts, crash, results)
    finish = Finish(ground.store.jobs, way, clock=ground.clock)
    async with Coordinator(yard_of(parts, ground, finish=finish, crash=crash)).open():
        yield finish


def judge_of(parts: TuningParts, ground: Ground, *, ask: Ask) -> Judge:
    """Who says whether a version is good; of trainings that only look like some, all are."""
    if parts.trade == "fake":
        return LenientJudge()
    golden = StoredGoldenFiles(ground.artifacts, work=ground.files.work)
    floor = ground.settings.gate_floor
    return StackJudge(ask, golden, registry=ground.registry, releases=ground.releases, floor=floor)


def yard_of(parts: TuningParts, ground: Ground, *, finish: Finish, crash: CrashPoints) -> Yard:
    """What the coordinator works on."""
    return Yard(
        ground.store.jobs,
        ground.store.views,
        ground.artifacts,
        parts.trainers,
        finish,
        plan=lambda job: plan_of(job, parts, ground=ground),
        resources=Resources(cpus=1, gpus=ground.settings.gpus if parts.gpu else 0),
        work=jobs_of(parts),
        settings=ground.settings,
        gateway=ground.gateway,
        clock=ground.clock,
        crash=crash,
    )


def jobs_of(parts: TuningParts) -> Path:
    """Where each job that is trained has a folder."""
    return Path(parts.work) / "jobs"


def plan_of(job: JobRow, parts: TuningParts, *, ground: Ground) -> WorkerPlan:
    """What the worker of a job's attempt is told. `KeyError` for a base that is not served any more."""
    base = ground.bases[job.base]
    return WorkerPlan(
        job=job.id,
        attempt=job.attempt,
        store_url=ground.store_url,
        artifacts=ground.artifact_settings,
        artifacts_home=Path(ground.home),
        fetched=Path(ground.fetched),
        work=jobs_of(parts),
        model=Path(parts.models[job.base]),
        base=replace(base, names=frozenset({base.id})),
        device="cuda" if parts.gpu else "cpu",
        threads=ground.settings.threads,
        gpu_share=min(1, ground.settings.gpus) if parts.gpu else 1,
        processes=ground.settings.gpu_processes if parts.gpu else 1,
        max_hours=ground.settings.max_hours,
        usd_per_million_tokens=ground.settings.usd_per_million_tokens,
        trade=parts.trade,
        crash_at=parts.worker_crash_at,
    )

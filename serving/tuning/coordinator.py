"""Moves jobs on: from checked files to a trainer, from there to a served adapter, and cleans up behind them.

One gateway does it at a time, the one with the lease; any other takes over. Every step is a transaction on a row that
is still as it was seen, or can be done again. Owns whose turn it is. Does not watch workers (`watch.py`), release
(`finish.py`), or train.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from models.artifacts.store import ArtifactStore
from models.clock import Clock
from models.crash import CrashPoints
from models.errors import PenstockError
from serving.periodic import Periodic
from serving.settings import FineTuningSettings
from serving.store.database import StoreDown
from serving.store.jobs import JobRow, JobTable
from serving.store.views import ViewTable
from serving.tuning.checkpoints import Checkpoints
from serving.tuning.finish import Finish
from serving.tuning.inputs import stored_file
from serving.tuning.job_rules import in_line
from serving.tuning.leftovers import without_leftovers
from serving.tuning.moves import Moves
from serving.tuning.plan import WorkerPlan
from serving.tuning.trainers import Resources, Trainers
from serving.tuning.watch import Watch

LEASE = "tuning"
LEASE_S = 10.0
ROUND_S = 0.5
CLEAN_EVERY_S = 600.0
DAY_S = 86_400.0
RETRY_S = 5.0
STUCK_S = 600.0
"""So long a step after training is tried again before it fails its job."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Yard:
    """What the coordinator works on. `plan`: the plan of a job's next worker; `work`: where workers of this machine
    have their folders; `resources`: of each one."""

    jobs: JobTable
    views: ViewTable
    artifacts: ArtifactStore
    trainers: Trainers
    finish: Finish
    plan: Callable[[JobRow], WorkerPlan]
    resources: Resources
    work: Path
    settings: FineTuningSettings
    gateway: str
    clock: Clock
    crash: CrashPoints


class Coordinator:
    """Moves jobs while this gateway holds the lease."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._move = Moves(yard.jobs, clock=yard.clock)
        gpu = yard.resources.gpus > 0
        self._watch = Watch(
            yard.jobs, yard.trainers, moves=self._move, settings=yard.settings, gpu=gpu, clock=yard.clock
        )
        self._checkpoints = Checkpoints(yard.jobs, yard.artifacts, clock=yard.clock)
        self._finishing: dict[str, asyncio.Task[None]] = {}
        self._troubles: dict[str, _Trouble] = {}
        self._cleaned = self._looked = yard.clock.monotonic()

    @property
    def watched(self) -> frozenset[str]:
        """The jobs of whose workers something was heard."""
        return self._watch.watched

    @asynccontextmanager
    async def open(self, *, every_s: float = ROUND_S) -> AsyncGenerator[None]:
        """Move jobs while the block is open. Workers go on behind it."""
        try:
            async with Periodic(self.round, every_s=every_s):
                yield
        finally:
            await self._drop(list(self._finishing))

    async def round(self) -> None:
        """One look at every job that has not ended."""
        yard = self._yard
        now = yard.clock.monotonic()
        if now - self._looked > yard.settings.lost_s / 2:
            self._watch.forget()
        if not await yard.views.hold(LEASE, yard.gateway, now=yard.clock.now(), for_s=LEASE_S):
            await self._drop(list(self._finishing))
            self._watch.forget()
            return
        for job in await yard.jobs.in_status("validating_files"):
            await self._apart(self._admit, job)
        running = await yard.jobs.in_status("running")
        await self._drop(self._finishing.keys() - {job.id for job in running})
        self._watch.keep({job.id for job in running if job.phase == "training"})
        for job in running:
            await self._apart(self._watch.look if job.phase == "training" else self._finish, job)
        await self._begin()
        self._looked = yard.clock.monotonic()
        if now - self._cleaned >= CLEAN_EVERY_S:
            self._cleaned = now
            await self.clean()

    async def clean(self) -> None:
        """Away with what nobody needs any more."""
        yard = self._yard
        before = yard.clock.now() - yard.settings.keep_days * DAY_S
        for job in await yard.jobs.ended_before(before):
            if not (count := await self._checkpoints.forget(job.id, ended_before=before)):
                continue
            await self._move.say(job, f"{count} checkpoints are removed: the job has ended long ago.")
        for name, version in await self._checkpoints.sweep():
            log.info("checkpoint_swept", job=name, version=version)
        for name in await without_leftovers(yard.work, yard.jobs):
            log.info("leftovers_removed", job=name)

    async def _apart(self, step: Callable[[JobRow], Awaitable[None]], job: JobRow) -> None:
        """A step of one job, whose failure holds up no other one; when the database is away, all wait."""
        try:
            await step(job)
        except StoreDown:
            raise
        except Exception as error:
            log.warning("step_failed", job=job.id, phase=job.phase, error=str(error), exc_info=error)

    async def _admit(self, job: JobRow) -> None:
        """Its files are still there: what is in them was checked when they came, and is counted by its worker, which
        has a tokenizer and a core of its own.
        """
        if job.wanted == "cancel":
            await self._move.obeyed(job)
            return
        for param in ("training_file", "validation_file"):
            file = getattr(job, param)
            if file is not None and await asyncio.to_thread(stored_file, self._yard.artifacts, file) is None:
                said = f"The file of `{param}` is not there any more."
                await self._move.ended(job, code="invalid_file", said=said, param=param)
                return
        await self._move(job, said="The files are there. The job is queued.", status="queued", phase="waiting")

    async def _begin(self) -> None:
        """Queued jobs whose turn it is get a worker."""
        yard = self._yard
        rows = await yard.jobs.in_status("queued", "running")
        running = [job for job in rows if job.status == "running"]
        queued = [job for job in rows if job.status == "queued"]
        waiting = []
        for job in queued:
            if job.wanted is not None:
                await self._move.obeyed(job)
            elif job.step and await self._checkpoints.trained(job.id) is not None:  # it failed behind its training
                said = "The training has ended before: what came of it is published next."
                await self._move(job, said=said, status="running", phase="publishing")
            else:
                waiting.append(job)
        free = yard.settings.trainers - sum(job.phase == "training" for job in running)
        for job in in_line(waiting, running)[: max(0, free)]:
            await self._apart(self._start, job)

    async def _start(self, job: JobRow) -> None:
        yard = self._yard
        attempt = job.attempt + 1
        claimed = await self._move(
            job,
            said="Training begins." if job.step == 0 else f"Training goes on, at step {job.step}.",
            status="running",
            phase="training",
            attempt=attempt,
            beat_at=None,
            started_at=job.started_at or yard.clock.now(),
        )
        if claimed is None:
            return
        yard.crash.reach("tuning.claimed")
        await yard.trainers.start(yard.plan(claimed), yard.resources)
        yard.crash.reach("tuning.started")

    async def _finish(self, job: JobRow) -> None:
        """What comes after training takes minutes: a task of its own, which is tried again when it fails."""
        if job.wanted == "cancel" and job.phase != "releasing":
            await self._drop([job.id])
            await self._move.obeyed(job)
            return
        task = self._finishing.get(job.id)
        if task is not None and task.done():
            del self._finishing[job.id]
            await self._note(job, task)
        trouble = self._troubles.get(job.id)
        if job.id not in self._finishing and (trouble is None or self._yard.clock.monotonic() >= trouble.again_at):
            self._finishing[job.id] = asyncio.create_task(self._yard.finish.rest(job))

    async def _note(self, job: JobRow, task: asyncio.Task[None]) -> None:
        """How a try ended: what may go away is tried again, for a while."""
        if task.cancelled() or (error := task.exception()) is None:
            self._troubles.pop(job.id, None)
            return
        now = self._yard.clock.monotonic()
        said = error.public if isinstance(error, PenstockError) else f"An unexpected error: {type(error).__name__}."
        trouble = self._troubles.setdefault(job.id, _Trouble(now))
        trouble.again_at = now + RETRY_S
        log.warning("finish_failed", job=job.id, phase=job.phase, error=str(error), exc_info=error)
        if now - trouble.since > STUCK_S:
            del self._troubles[job.id]
            if job.phase == "publishing":  # a resume trains the last steps again
                await self._checkpoints.drop_trained(job.id)
            await self._move.ended(job, code=f"{job.phase}_failed", said=said)
        elif said != trouble.said:
            trouble.said = said
            await self._move.say(job, f"{said} This is tried again.", level="warn")

    async def _drop(self, jobs: Iterable[str]) -> None:
        """End the tasks of these jobs."""
        for job in list(jobs):
            task = self._finishing.pop(job) if job in self._finishing else None
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task


@dataclass(slots=True)
class _Trouble:
    """A step that failed: since when, when it is tried again, and what was said of it."""

    since: float
    again_at: float = 0.0
    said: str = ""

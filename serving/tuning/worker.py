"""A trainer's body, in whatever process it lives: `python -m serving.tuning.worker FILE`, or an actor of Ray's.

The story of an attempt reads in `_worked`: take the job, fetch what it needs, choose, train, hand over. It has the job
only while the row says so: every change of status looks first. Owns one attempt. Does not decide who trains
(`coordinator.py`) or how (`finetune`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from finetune.jobs import Status, require_step
from finetune.order import Trained, TrainingFailed, TrainingOrder
from models.artifacts.store import ArtifactStore, open_artifacts
from models.clock import Clock, SystemClock
from models.crash import CrashPoints
from models.errors import ConfigurationError, InvalidRequest, PenstockError
from models.privacy import private_folder
from serving.periodic import Periodic, ticks
from serving.store.database import StoreDown
from serving.store.jobs import CheckpointRow, EventRow, JobRow
from serving.store.store import Store
from serving.telemetry.log import configure_log
from serving.tuning.checkpoints import FINAL, Checkpoints, is_of
from serving.tuning.golden_files import inputs_of
from serving.tuning.inputs import input_file
from serving.tuning.leftovers import without_leftovers
from serving.tuning.moves import phase_of
from serving.tuning.plan import WorkerPlan
from serving.tuning.reports import Caps, Reports
from serving.tuning.workshop import Inputs, Workshop, workshop_of

NICENESS = 10
PATIENCE_S = 120.0
RETRY_S = 1.0
LIMIT_REACHED = "limit_reached"

log = structlog.get_logger(__name__)


class Lost(Exception):
    """The job is another worker's by now, or has ended: there is nothing left to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """What an attempt works with."""

    store: Store
    artifacts: ArtifactStore
    workshop: Workshop
    clock: Clock


class Worker:
    """One attempt at one job."""

    def __init__(self, plan: WorkerPlan, place: Place) -> None:
        self._plan = plan
        self._jobs = place.store.jobs
        self._artifacts = place.artifacts
        self._workshop = place.workshop
        self._clock = place.clock
        self._checkpoints = Checkpoints(self._jobs, place.artifacts, clock=place.clock)
        self._crash = CrashPoints(plan.crash_at)
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Work until the job is trained, stopped, failed, or another's. Raises what may go away by itself, such as
        `StoreDown` and `OSError`: whoever started this worker starts another.
        """
        folder = self._plan.folder
        await asyncio.to_thread(_cleared, folder)
        try:
            await without_leftovers(folder.parent.parent, self._jobs)  # on a machine without a gateway nobody else does
            await self._worked(folder)
        except Lost:
            log.info("job_lost", job=self._plan.job, attempt=self._plan.attempt)
        finally:
            await asyncio.to_thread(_away, folder)

    async def _worked(self, folder: Path) -> None:
        job = await self._taken()
        loop = asyncio.get_running_loop()

        def keep(step: int, saved: Path, *, metrics: Mapping[str, float]) -> None:
            """From the thread that trains, which waits."""
            asyncio.run_coroutine_threadsafe(self._kept(step, saved, metrics=metrics, reports=reports), loop).result()

        plan = self._plan
        caps = Caps.of(job, max_hours=plan.max_hours, usd_per_million_tokens=plan.usd_per_million_tokens)
        reports = Reports(job, caps, keep=keep, clock=self._clock)
        async with Periodic(lambda: self._beat(reports), every_s=plan.beat_s):
            try:
                trained = await self._trained(job, reports, folder=folder)
            except (TrainingFailed, InvalidRequest) as failure:
                log.warning("training_failed", job=job.id, code=failure.code, detail=failure.detail)
                wrong, said = _error(failure), failure.public
                await self._patiently(lambda: self._ended(reports, "failed", said=said, error=wrong))
                return
            if trained.adapter is not None:
                await self._patiently(lambda: self._handed_over(trained, reports))
            else:
                await self._patiently(lambda: self._stopped(trained, reports))

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """The last step, again and again while the database is away: hours of training hang on it."""
        last = self._clock.monotonic() + PATIENCE_S
        async for _ in ticks(RETRY_S):
            try:
                await step()
                return
            except StoreDown:
                if self._clock.monotonic() > last:
                    raise

    async def _taken(self) -> JobRow:
        """The job, as this process's own."""
        worker = {"pid": os.getpid(), "node": socket.gethostname(), "attempt": self._plan.attempt}
        async with self._jobs.changing() as change:
            job = await change.find(self._plan.job)
            if job is None or not is_of(job, self._plan.attempt):
                raise Lost
            job = replace(job, worker={**(job.worker or {}), **worker}, beat_at=self._clock.now())
            await change.put(job)
        self._crash.reach(f"tuning.taken.{self._plan.attempt}")
        return job

    async def _trained(self, job: JobRow, reports: Reports, *, folder: Path) -> Trained:
        """From the files to what came of them."""
        inputs = await asyncio.to_thread(self._inputs, job, folder)
        resume = await self._resume(job, reports, to=folder)
        order = await self._order(job, inputs, reports=reports, resume=resume)
        if (stop := reports.stop()) is not None:
            return Trained(job.step, job.steps or 0, job.trained_tokens or 0, None, stopped=stop)
        self._crash.reach(f"tuning.training.{self._plan.attempt}")
        try:
            return await asyncio.to_thread(self._workshop.train, order, reports)
        except (TrainingFailed, PenstockError, OSError):
            raise  # the last two may go away by themselves, such as a full disk
        except Exception as error:  # whatever a library raises: to try the same again would end the same way
            log.exception("training_raised", job=job.id)
            raise TrainingFailed(
                "internal_error", f"The training ended with an error that is not the data's: {type(error).__name__}."
            ) from error

    def _inputs(self, job: JobRow, folder: Path) -> Inputs:
        """The job's files, here. Blocks."""
        found = [
            None if file is None else input_file(self._artifacts, file, to=folder)
            for file in (job.training_file, job.validation_file)
        ]
        training, validation = found
        if training is None or (validation is None and job.validation_file is not None):
            param = "training_file" if training is None else "validation_file"
            raise TrainingFailed("invalid_data", f"The file of `{param}` is not there any more.")
        return inputs_of(job, training=training, validation=validation, to=folder)

    async def _resume(self, job: JobRow, reports: Reports, *, to: Path) -> Path | None:
        """The newest whole checkpoint; what is damaged is passed over, and said."""
        async for row, folder in self._checkpoints.resumable(job.id, to=to / "resume"):
            if folder is not None:
                reports.step = row.step
                reports.event(f"Resuming from step {row.step}.", step=row.step)
                return folder
            reports.event(f"The checkpoint of step {row.step} is damaged and passed over.", level="warn", step=row.step)
        return None

    async def _order(self, job: JobRow, inputs: Inputs, *, reports: Reports, resume: Path | None) -> TrainingOrder:
        """What is to be trained. Its numbers are chosen once: every later attempt has the same."""
        numbers = job.order
        if numbers is None:
            chosen = await asyncio.to_thread(self._workshop.choose, job, inputs, plan=self._plan)
            for said in (*inputs.told, *chosen.rules):
                reports.event(said)
            seed = int(job.asked.get("seed") or 0)
            told = chosen.hyperparameters.model_dump(mode="json")
            numbers = {"recipe": chosen.recipe, "seed": seed, "hyperparameters": told, "counts": dict(chosen.counts)}
            await self._written(reports)
            await self._change(lambda row: replace(row, order=numbers))
            self._crash.reach(f"tuning.chosen.{self._plan.attempt}")
        plan = self._plan
        return TrainingOrder(
            job=job.id,
            recipe=numbers["recipe"],
            base=plan.model,
            training=inputs.training,
            validation=inputs.validation,
            folder=plan.folder / "training",
            hyperparameters=numbers["hyperparameters"],
            seed=numbers["seed"],
            device=plan.device,
            threads=plan.threads,
            resume=resume,
            gpu_share=plan.gpu_share,
            processes=plan.processes,
        )

    async def _kept(self, step: int, folder: Path, *, metrics: Mapping[str, float], reports: Reports) -> None:
        """A checkpoint into the store, then its row, behind all that was told: no later attempt tells that again. What
        cannot be kept costs steps when this worker is lost.
        """
        attempt = self._plan.attempt
        self._crash.reach(f"tuning.saving.{attempt}")
        try:
            artifact = await self._checkpoints.published(self._plan.job, folder, step=step)
            self._crash.reach(f"tuning.saved.{attempt}")
            await self._written(reports)
            if await self._checkpoints.added(self._checkpoints.row(artifact, step, metrics=metrics), attempt=attempt):
                self._crash.reach(f"tuning.kept.{attempt}")
                reports.event(f"Checkpoint of step {step} is kept.", step=step)
            else:
                reports.ask("lost")
        except PenstockError as error:
            log.warning("checkpoint_not_kept", job=self._plan.job, step=step, error=str(error))
            reports.event(f"The checkpoint of step {step} could not be kept.", level="warn", step=step)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _beat(self, reports: Reports) -> None:
        """A sign of life, which hears at once what the owner wants, and whose the job is."""
        progress = _progress(reports)
        row = await self._jobs.beat(self._plan.job, attempt=self._plan.attempt, now=self._clock.now(), values=progress)
        if row is None:
            reports.ask("lost")
        elif row.wanted is not None:
            reports.ask(row.wanted)
        await self._written(reports)

    async def _written(self, reports: Reports) -> None:
        """Every event so far is a row when this returns."""
        async with self._writing:
            rows = reports.drain()
            try:
                if rows:
                    await self._jobs.tell(rows)
            except PenstockError:
                reports.back(rows)
                raise

    async def _handed_over(self, trained: Trained, reports: Reports) -> None:
        """The adapter into the store, then the job into the hands of the coordinator."""
        await self._written(reports)
        assert trained.adapter is not None
        artifact = await self._checkpoints.published(self._plan.job, trained.adapter, step=trained.step, final=True)
        self._crash.reach(f"tuning.adapter_stored.{self._plan.attempt}")
        row = self._checkpoints.row(artifact, trained.step, metrics={**trained.metrics, FINAL: True})
        await self._change(
            lambda job: replace(job, phase="publishing", **_progress(reports, trained)),
            said=f"The training ended after step {trained.step}.",
            checkpoint=row,
        )

    async def _stopped(self, trained: Trained, reports: Reports) -> None:
        match trained.stopped:
            case "lost":
                raise Lost
            case "cancel":
                await self._ended(reports, "cancelled", said="The job is cancelled.", trained=trained)
            case "pause":
                await self._ended(
                    reports, "paused", said=f"The job is paused after step {trained.step}.", trained=trained
                )
            case _:
                said = f"The training reached its limit: {reports.reached}. It stood at step {trained.step}."
                error = {"code": LIMIT_REACHED, "message": said, "param": None}
                await self._ended(reports, "failed", said=said, error=error, trained=trained)

    async def _ended(
        self,
        reports: Reports,
        status: Status,
        *,
        said: str,
        error: Mapping[str, Any] | None = None,
        trained: Trained | None = None,
    ) -> None:
        """The job in another status, with the event that tells it."""
        await self._written(reports)

        def ended(job: JobRow) -> JobRow:
            last = last_wish(job, status)
            require_step(job.status, last)
            now = self._clock.now()
            rests = last == "paused"
            over = {"phase": "waiting" if rests else "done", "finished_at": None if rests else now}
            told: dict[str, Any] = {"status": last, "state_at": now, "wanted": None, "error": error, **over}
            return replace(job, **told, **_progress(reports, trained))

        await self._change(ended, said=said, level="error" if status == "failed" else "info")

    async def _change(
        self,
        change_of: Callable[[JobRow], JobRow],
        *,
        said: str | None = None,
        level: str = "info",
        checkpoint: CheckpointRow | None = None,
    ) -> None:
        """One transaction on the job while it is this attempt's; else `Lost`."""
        async with self._jobs.changing() as change:
            job = await change.find(self._plan.job)
            if job is None or not is_of(job, self._plan.attempt):
                raise Lost
            changed = change_of(job)
            await change.put(changed)
            if checkpoint is not None:
                await change.put_checkpoint(checkpoint)
            if said is not None:
                data = phase_of(job, changed)
                await change.tell(EventRow(job.id, self._clock.now(), said, level=level, data=data))


def last_wish(job: JobRow, status: Status) -> Status:
    """Where a job goes: a cancellation may have come while its checkpoint for a pause was written."""
    return "cancelled" if status == "paused" and job.wanted == "cancel" else status


def _progress(reports: Reports, trained: Trained | None = None) -> dict[str, Any]:
    """How far the job is."""
    if trained is None:
        return {
            "step": reports.step,
            "steps": reports.steps,
            "trained_s": reports.trained_s,
            **({"trained_tokens": reports.tokens} if reports.tokens else {}),
        }
    return {
        "step": trained.step,
        "steps": trained.steps,
        "trained_s": reports.trained_s,
        "trained_tokens": trained.tokens,
    }


def _error(failure: TrainingFailed | InvalidRequest) -> dict[str, Any]:
    """As a job shows it."""
    told: dict[str, Any] = {"code": failure.code, "message": failure.public, "param": None, "line": None}
    if isinstance(failure, InvalidRequest):
        return {**told, "param": failure.param}
    return {**told, "param": "training_file" if failure.code == "invalid_data" else None, "line": failure.line}


def _cleared(folder: Path) -> None:
    """An empty folder for this attempt; those of earlier ones, whose processes are dead, go."""
    private_folder(folder.parent)
    for left in folder.parent.iterdir():
        shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(mode=0o700)


def _away(folder: Path) -> None:
    """The attempt's folder goes, and its job's with the last one."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()


async def work(plan: WorkerPlan) -> None:
    """Open what the attempt needs, and run it. The process is its own: on a CPU it steps back behind serving."""
    configure_log()
    if plan.device == "cpu":
        with suppress(OSError):
            os.nice(NICENESS)
    clock = SystemClock()
    artifacts = open_artifacts(plan.artifacts, home=plan.artifacts_home, clock=clock)
    async with Store.open(plan.store_url) as store:
        await Worker(plan, Place(store, artifacts, workshop_of(plan.trade), clock)).run()


def main(file: str) -> int:
    """Work by the plan in this file, which is removed: it holds the database's address."""
    path = Path(file)
    plan = WorkerPlan.model_validate_json(path.read_text())
    path.unlink()
    try:
        asyncio.run(work(plan))
    except (PenstockError, OSError, ConfigurationError) as error:
        log.warning("worker_failed", job=plan.job, attempt=plan.attempt, error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

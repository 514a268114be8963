"""Looks after workers: that they are there, that they obey, and what happens when they do not.

Silence is counted by this process's own clock, from when it heard a worker last: another machine's clock may be wrong,
and a database that was away kept every worker silent. Does not start workers (`coordinator.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import structlog

from finetune.jobs import Wanted
from models.clock import Clock
from serving.settings import FineTuningSettings
from serving.store.jobs import JobRow, JobTable
from serving.tuning.checkpoints import FINAL
from serving.tuning.moves import Moves
from serving.tuning.trainers import Life, Trainers

OBEY_S: Mapping[Wanted, float] = MappingProxyType({"cancel": 20.0, "pause": 300.0})
"""After so long a worker that does not do what its owner wants is ended: its checkpoint takes time to be kept."""

START_S = 180.0
"""After so long a worker that has its resources and was never heard counts as lost: its process loads libraries."""

WAIT_S = 3.0
"""After so long a job says that it waits for room."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Heard:
    """What was heard of an attempt: its last sign of life, and since when, by our clock, there was no newer one."""

    attempt: int
    beat_at: float | None
    since: float
    running_since: float | None = None
    wanted_since: float | None = None


class Watch:
    """The workers of jobs in training."""

    def __init__(
        self,
        table: JobTable,
        trainers: Trainers,
        *,
        moves: Moves,
        settings: FineTuningSettings,
        gpu: bool,
        clock: Clock,
    ) -> None:
        self._table = table
        self._trainers = trainers
        self._move = moves
        self._settings = settings
        self._gpu = gpu
        self._clock = clock
        self._heard: dict[str, Heard] = {}

    def forget(self) -> None:
        """Nothing was heard for a while, of anybody: begin to count anew."""
        self._heard.clear()

    def keep(self, jobs: Collection[str]) -> None:
        """Forget what was heard of every job but these."""
        self._heard = {job: heard for job, heard in self._heard.items() if job in jobs}

    @property
    def watched(self) -> frozenset[str]:
        """The jobs of whose workers something is known."""
        return frozenset(self._heard)

    async def look(self, job: JobRow) -> None:
        """One look at one job's worker."""
        life = await self._trainers.alive(job.id, job.attempt)
        if life == "pending" and job.beat_at is not None:
            life = "running"  # it had its room, and is too busy to answer, or hangs: its silence tells
        heard = self._listen(job, life)
        if job.wanted is not None:
            await self._obey(job, life, heard=heard)
        elif life == "gone":
            await self._lost(job, "it is gone")
        elif life == "pending":
            await self._wait(job, heard)
        elif (silent := self._silent(job, heard)) is not None:
            await self._lost(job, silent)

    def _listen(self, job: JobRow, life: Life) -> Heard:
        now = self._clock.monotonic()
        heard = self._heard.get(job.id)
        if heard is None or heard.attempt != job.attempt:
            heard = self._heard[job.id] = Heard(job.attempt, job.beat_at, now)
        if heard.beat_at != job.beat_at:
            heard.beat_at, heard.since = job.beat_at, now
        if life == "running" and heard.running_since is None:
            heard.running_since = now
        heard.wanted_since = None if job.wanted is None else heard.wanted_since or now
        return heard

    def _silent(self, job: JobRow, heard: Heard) -> str | None:
        """Why a worker that seems to run counts as lost."""
        now = self._clock.monotonic()
        if job.beat_at is not None:
            quiet = now - heard.since
            return f"it was silent for {quiet:.0f} s" if quiet > self._settings.lost_s else None
        late = heard.running_since is not None and now - heard.running_since > START_S
        return f"it did not begin within {START_S:.0f} s" if late else None

    async def _obey(self, job: JobRow, life: Life, *, heard: Heard) -> None:
        """What its owner wants: a worker does it by itself, unless it has not begun, or hangs."""
        assert heard.wanted_since is not None
        assert job.wanted is not None
        waited = self._clock.monotonic() - heard.wanted_since
        if life == "running" and waited < OBEY_S[job.wanted] and self._silent(job, heard) is None:
            return
        await self._trainers.kill(job.id, job.attempt)
        if await self._move.obeyed(job) is not None and life == "running":
            log.warning("worker_did_not_obey", job=job.id, attempt=job.attempt)

    async def _wait(self, job: JobRow, heard: Heard) -> None:
        worker = dict(job.worker or {})
        if worker.get("waits") or self._clock.monotonic() - heard.since < WAIT_S:
            return
        held = "The cluster has no free CPU for it."
        if self._gpu:
            part = self._settings.gpus
            wanted = f"{part:g} of a GPU" if part < 1 else f"{part:g} GPU{'s' if part > 1 else ''}"
            held = f"A training takes {wanted}, and serving and other trainings leave less."
        said = f"{held} It begins as soon as there is room."
        await self._move(job, said=said, worker={**worker, "waits": True})

    async def _lost(self, job: JobRow, why: str) -> None:
        """Another attempt, or the end after too many without a new checkpoint. The old worker is dead before that."""
        await self._trainers.kill(job.id, job.attempt)
        newest = next((row.step for row in await self._table.checkpoints(job.id) if not row.metrics.get(FINAL)), 0)
        worker = job.worker or {}
        losses = int(worker.get("losses", 0)) + 1 if worker.get("checkpoint", 0) == newest else 1
        told: dict[str, Any] = {"losses": losses, "checkpoint": newest}
        if losses >= self._settings.attempts:
            said = f"{losses} workers in a row were lost without a new checkpoint; the last one: {why}."
            await self._move.ended(job, code="worker_lost", said=said, worker=told)
        else:
            on = f"resuming from step {newest}" if newest else "beginning again"
            said = f"The worker was lost ({why}): {on}."
            await self._move(job, said=said, level="warn", status="queued", phase="waiting", worker=told)
        log.warning("worker_lost", job=job.id, attempt=job.attempt, why=why, losses=losses)

"""A job's checkpoints: kept, found again, and thinned out.

The bytes go into the artifact store first, index last; then comes the row. So a row speaks of a whole checkpoint, and
what no row speaks of is swept. Does not know what is in one (`finetune/recipes`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from models.artifacts.artifact import VERSION_DIGITS, Artifact, ArtifactKind
from models.artifacts.store import ArtifactStore
from models.clock import Clock
from models.errors import ConfigurationError
from serving.store.jobs import CheckpointRow, JobRow, JobTable

KIND: ArtifactKind = "checkpoint"
NEWEST_KEPT = 3
FINAL = "final"
"""In the metrics of a checkpoint that is a training's end: an adapter, from which no training goes on."""

ORPHAN_S = 3600.0


class Checkpoints:
    """Checkpoints of jobs, as rows and as artifacts."""

    def __init__(self, table: JobTable, artifacts: ArtifactStore, *, clock: Clock) -> None:
        self._table = table
        self._artifacts = artifacts
        self._clock = clock

    async def published(self, job: str, folder: Path, *, step: int, final: bool = False) -> Artifact:
        """The files of a folder, in the store. Raises `ConfigurationError`."""
        about = {"step": str(step), **({FINAL: "1"} if final else {})}
        return await asyncio.to_thread(self._artifacts.publish, folder, kind=KIND, name=job, about=about)

    def row(self, artifact: Artifact, step: int, *, metrics: Mapping[str, Any]) -> CheckpointRow:
        """What is written of it."""
        return CheckpointRow(artifact.name, step, self._clock.now(), artifact.digest, dict(metrics))

    async def added(self, row: CheckpointRow, *, attempt: int) -> bool:
        """Write the row and forget what is kept no longer; False when the job is another worker's by now."""
        async with self._table.changing() as change:
            job = await change.find(row.job)
            if not is_of(job, attempt):
                return False
            await change.put_checkpoint(row)
            gone = superfluous(await change.checkpoints(row.job))
            await change.drop_checkpoints(row.job, [one.step for one in gone])
        await self._discard(gone)
        return True

    async def trained(self, job: str) -> CheckpointRow | None:
        """The adapter with which its training ended, if it did."""
        return next((row for row in await self._table.checkpoints(job) if row.metrics.get(FINAL)), None)

    async def drop_trained(self, job: str) -> None:
        """Forget that adapter: its files cannot be read."""
        row = await self.trained(job)
        if row is not None:
            async with self._table.changing() as change:
                await change.drop_checkpoints(job, [row.step])
            await self._discard([row])

    async def resumable(self, job: str, *, to: Path) -> AsyncIterator[tuple[CheckpointRow, Path | None]]:
        """Checkpoints from which the job can go on, newest first, each with a folder of its files; None for one that
        is damaged or gone.
        """
        for row in await self._table.checkpoints(job):
            if not row.metrics.get(FINAL):
                yield row, await asyncio.to_thread(self._fetched, row, to)

    async def fetched(self, row: CheckpointRow, *, to: Path) -> Path | None:
        """A folder under `to` with the files of one; None when it is damaged or gone."""
        return await asyncio.to_thread(self._fetched, row, to)

    async def forget(self, job: str, *, ended_before: float) -> int:
        """Away with all of a job's checkpoints, if it has ended before that moment, and is not resumed; how many. Its
        steps' figures go as well where a result file has them.
        """
        async with self._table.changing() as change:
            found = await change.find(job)
            if found is None or found.finished_at is None or found.finished_at >= ended_before:
                return 0
            rows = await change.checkpoints(job)
            await change.drop_checkpoints(job)
            if found.result_files:  # which hold the figures of every step
                await change.drop_metrics(job)
        await self._discard(rows)
        return len(rows)

    async def sweep(self) -> list[tuple[str, str]]:
        """Away with what no row speaks of: of a save that was cut. What belongs to jobs of other stacks stays."""
        known = await self._table.kept()
        keep = {(job, digest[:VERSION_DIGITS]) for job, digests in known.items() for digest in digests}
        found = await asyncio.to_thread(self._artifacts.orphans, KIND, keep, older_than_s=ORPHAN_S)
        ours = [(job, version) for job, version in found if job in known]
        for job, version in ours:
            await asyncio.to_thread(self._artifacts.discard, KIND, job, version=version)
        return ours

    def _fetched(self, row: CheckpointRow, to: Path) -> Path | None:
        try:
            return self._artifacts.fetch(self._artifacts.find(KIND, row.job, version=row.digest), to=to)
        except (ConfigurationError, FileNotFoundError):
            return None

    async def _discard(self, rows: Iterable[CheckpointRow]) -> None:
        """What cannot be removed now is swept later."""
        for row in rows:
            try:
                version = row.digest[:VERSION_DIGITS]
                await asyncio.to_thread(self._artifacts.discard, KIND, row.job, version=version)
            except ConfigurationError:
                return


def is_of(job: JobRow | None, attempt: int) -> bool:
    """Whether a job is this attempt's to change."""
    return job is not None and (job.status, job.attempt) == ("running", attempt)


def superfluous(rows: Iterable[CheckpointRow]) -> list[CheckpointRow]:
    """What is kept no longer: all but the newest three, the best by `valid_loss`, and those that are served."""
    ordered = sorted(rows, key=lambda row: row.step, reverse=True)
    judged = [row for row in ordered if row.metrics.get("valid_loss") is not None]
    best = min(judged, key=lambda row: (row.metrics["valid_loss"], row.step), default=None)
    return [row for row in ordered[NEWEST_KEPT:] if row != best and row.adapter_version is None]

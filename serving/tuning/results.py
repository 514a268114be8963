"""The figures of a training as a file of its org: one row of CSV a step, as OpenAI's result files have it.

Owns the table. Does not own files (`files.py`) or figures (`reports.py`).
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serving.adapters.releases import Actor
from serving.store.jobs import JobRow, JobTable
from serving.tuning.files import FileDesk

PAGE = 1000
FIRST = ("step", "train_loss", "valid_loss")
LEFT_OUT = frozenset({"attempt"})


class StepMetrics:
    """Writes `step_metrics.csv`."""

    def __init__(self, table: JobTable, files: FileDesk) -> None:
        self._table = table
        self._files = files

    async def keep(self, job: JobRow) -> str:
        """The id of the file, the same whenever this is done again. Of a step that was trained twice the later figures
        count.
        """
        steps = await self._steps(job.id)
        with TemporaryDirectory(dir=self._files.work, prefix="results-") as draft:
            path = Path(draft, "step_metrics.csv")
            await asyncio.to_thread(_write, path, steps)
            actor = Actor(job.org, job.created_by)
            row = await self._files.keep(actor, path, name="step_metrics.csv", source=job.id)
        return row.id

    async def _steps(self, job: str) -> dict[int, Mapping[str, Any]]:
        found: dict[int, Mapping[str, Any]] = {}
        after: int | None = None
        while rows := await self._table.events(job, after=after, limit=PAGE, newest_first=False):
            found |= {row.data["step"]: row.data for row in rows if row.type == "metrics"}
            after = rows[-1].id
        return found


def _write(path: Path, steps: Mapping[int, Mapping[str, Any]]) -> None:
    others = {name for data in steps.values() for name in data} - {*FIRST} - LEFT_OUT
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, [*FIRST, *sorted(others)], restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows(steps[step] for step in sorted(steps))

"""One step of a job: a transaction that happens if the job is still as it was seen, together with the event that tells
it. Owns the guard. Does not decide which step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from finetune.jobs import Wanted, require_step
from models.clock import Clock
from serving.store.jobs import EventRow, JobRow, JobTable


class Moves:
    """Moves jobs. A job that somebody else has moved meanwhile stays as it is."""

    def __init__(self, table: JobTable, *, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    async def __call__(
        self, seen: JobRow, *, said: str | None = None, level: str = "info", unless: Wanted | None = None, **values: Any
    ) -> JobRow | None:
        """The job with these values; None, and nothing written, when its status, phase or attempt is another by now, or
        its owner wants what `unless` names.
        """
        now = self._clock.now()
        async with self._table.changing() as change:
            found = await change.find(seen.id)
            if found is None or _place(found) != _place(seen) or (unless is not None and found.wanted == unless):
                return None
            if "status" in values and values["status"] != found.status:
                require_step(found.status, values["status"])
                values = {"state_at": now, **values}
            moved = replace(found, **values)
            await change.put(moved)
            if said is not None:
                await change.tell(EventRow(seen.id, now, said, level=level, data=phase_of(found, moved)))
        return moved

    async def ended(self, seen: JobRow, *, code: str, said: str, **values: Any) -> JobRow | None:
        """The job as failed, for this reason."""
        error = {"code": code, "message": said, "param": values.pop("param", None), "line": None}
        over: dict[str, Any] = {"phase": "done", "finished_at": self._clock.now(), "wanted": None, "error": error}
        return await self(seen, said=said, level="error", status="failed", **{**over, **values})

    async def obeyed(self, seen: JobRow) -> JobRow | None:
        """The job as its owner wants it: cancelled or paused."""
        if seen.wanted == "cancel":
            over: dict[str, Any] = {"status": "cancelled", "phase": "done", "finished_at": self._clock.now()}
            return await self(seen, said="The job is cancelled.", wanted=None, **over)
        said = f"The job is paused after step {seen.step}."
        return await self(seen, said=said, unless="cancel", status="paused", phase="waiting", wanted=None)

    async def say(self, job: JobRow, said: str, *, level: str = "info") -> None:
        """An event alone."""
        await self._table.tell([EventRow(job.id, self._clock.now(), said, level=level)])


def phase_of(before: JobRow, after: JobRow) -> dict[str, str]:
    """What the event of a step tells besides its words: the phase that begins with it, if one does."""
    return {} if before.phase == after.phase else {"phase": after.phase}


def _place(row: JobRow) -> tuple[str, str, int]:
    return row.status, row.phase, row.attempt

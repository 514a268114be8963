"""What judges the adapter of a job, and what it says. Owns the words; `judge.py` judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from serving.store.jobs import JobRow


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a version may be served, and why: `report` is kept in the job's row and must be JSON."""

    passed: bool
    report: Mapping[str, Any] = field(default_factory=dict)


class Judge(Protocol):
    """Judges a version that nobody is served yet."""

    async def judge(self, job: JobRow, adapter_version: int) -> Verdict:
        """The verdict on this version of the job's adapter. May take minutes, may be cancelled, and may be asked again
        after a crash. Raises `PenstockError` when it cannot judge now.
        """
        ...


class LenientJudge:
    """A fake: passes every version, or none. `judged`: what it was asked, in order."""

    def __init__(self, *, passes: bool = True) -> None:
        self._passes = passes
        self.judged: list[tuple[str, int]] = []

    async def judge(self, job: JobRow, adapter_version: int) -> Verdict:
        """What it was made to say."""
        self.judged.append((job.id, adapter_version))
        return Verdict(self._passes, {"judge": "none", "passed": self._passes})

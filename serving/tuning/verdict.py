"""What judges the adapter of a job: the contract, and a fake. `judge.py` has the one that judges."""

from __future__ import annotations

from typing import Protocol

from finetune.release import Verdict
from serving.store.jobs import JobRow


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

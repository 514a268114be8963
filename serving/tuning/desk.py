"""The desk: everything of fine-tuning that the HTTP layer needs, put together. Owns nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from serving.tuning.files import FileDesk
from serving.tuning.jobs import JobDesk


@dataclass(frozen=True, slots=True)
class TuningDesk:
    """What routes ask; None: not of this stack."""

    files: FileDesk | None = None
    jobs: JobDesk | None = None

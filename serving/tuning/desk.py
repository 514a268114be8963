"""The desk of fine-tuning: its parts as the HTTP layer gets them. Owns nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from serving.tuning.files import FileDesk
from serving.tuning.finish import Finish
from serving.tuning.jobs import JobDesk


@dataclass(frozen=True, slots=True)
class TuningDesk:
    """What the routes of files and of jobs ask. `finish`: None where nobody trains."""

    files: FileDesk
    jobs: JobDesk
    finish: Finish | None = None

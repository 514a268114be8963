"""The desk: everything of fine-tuning that the HTTP layer needs, put together. Owns nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from serving.tuning.files import FileDesk


@dataclass(frozen=True, slots=True)
class TuningDesk:
    """What the routes of files ask."""

    files: FileDesk

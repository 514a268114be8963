"""The desk of fine-tuning: its parts as the HTTP layer gets them. Owns nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from serving.tuning.jobs import JobDesk


@dataclass(frozen=True, slots=True)
class TuningDesk:
    """What there is of fine-tuning in this stack; None: not here."""

    jobs: JobDesk | None = None

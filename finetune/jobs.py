"""Fine-tuning jobs: their states, and which follows which.

Words alone: rows are `serving/store`'s, and what moves a job is `serving/tuning`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Status = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
Phase = Literal["waiting", "training", "publishing", "judging", "releasing", "done"]
"""What a job does inside its status; `training` … `releasing` are all `running` to its owner."""

Wanted = Literal["cancel", "pause"]

ENDED: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})
STEPS: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        "validating_files": frozenset({"queued", "failed", "cancelled"}),
        "queued": frozenset({"running", "paused", "failed", "cancelled"}),
        "running": frozenset({"queued", "paused", "succeeded", "failed", "cancelled"}),
        "paused": frozenset({"queued", "cancelled"}),
        "succeeded": frozenset(),
        "failed": frozenset({"queued"}),
        "cancelled": frozenset(),
    }
)
"""`running` → `queued` when a worker was lost, or its stack stopped; `failed` → `queued` when its owner resumes it."""


def require_step(before: Status, after: Status) -> None:
    """Raise `ValueError` for a step that there is not: a mistake of ours, never a caller's."""
    if after not in STEPS[before]:
        raise ValueError(f"a job does not go from {before} to {after}")

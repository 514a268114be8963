"""The command line's calls for fine-tuning: jobs, their events and reports, and the files that they read.

Owns paths and pages. The HTTP is `calls.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.errors import ConfigurationError, PenstockError
from serving.commands.calls import StackCalls
from serving.commands.options import environment, state_of
from serving.commands.target import Target, target_of

JOBS_PAGE = 100
EVENTS_PAGE = 1000
FILE_ID = "file-"


class TuningCalls:
    """One stack's fine-tuning."""

    def __init__(self, target: Target) -> None:
        self._jobs = StackCalls(target, "/v1/fine_tuning/jobs")
        self._files = StackCalls(target, "/v1/files")

    @classmethod
    def of(cls, state_dir: Path | None) -> TuningCalls:
        """That of the stack of a state folder, or of `PENSTOCK_URL`."""
        return cls(target_of(state_of(state_dir), environment()))

    def upload(self, file: Path, *, purpose: str) -> str:
        """The id of a file that is sent now, or that was sent before."""
        if not file.is_file():
            if str(file).startswith(FILE_ID):
                return str(file)
            raise ConfigurationError(f"{str(file)!r} is not a file, and no id of one that the stack has.")
        with file.open("rb") as data:
            made = self._files.answer("POST", data={"purpose": purpose}, files={"file": (file.name, data)})
        return str(made["id"])

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new job."""
        return self._jobs.answer("POST", json=body)

    def job(self, job: str) -> dict[str, Any]:
        """A job as it is now."""
        return self._jobs.answer("GET", job)

    def wish(self, job: str, wish: str) -> dict[str, Any]:
        """`cancel`, `pause` or `resume`."""
        return self._jobs.answer("POST", job, wish, json={})

    def jobs(self, *, most: int | None = None) -> list[dict[str, Any]]:
        """The org's jobs, newest first."""
        found: list[dict[str, Any]] = []
        asked: dict[str, Any] = {"limit": min(JOBS_PAGE, most or JOBS_PAGE)}
        more = True
        while more and (most is None or len(found) < most):
            page = self._jobs.answer("GET", params=asked)
            found += page["data"]
            more, asked["after"] = page["has_more"], page["last_id"]
        return found[:most]

    def events(self, job: str, *, after: str | None = None) -> Iterator[dict[str, Any]]:
        """What happened to a job since an event, oldest first."""
        asked: dict[str, Any] = {"limit": EVENTS_PAGE, "order": "asc"}
        more = True
        while more:
            page = self._jobs.answer("GET", job, "events", params={**asked, **({"after": after} if after else {})})
            yield from page["data"]
            more, after = page["has_more"], page["last_id"]

    def checkpoints(self, job: str) -> list[dict[str, Any]]:
        """The complete checkpoints of a job that are kept, newest first."""
        found: list[dict[str, Any]] = self._jobs.answer("GET", job, "checkpoints", params={"limit": JOBS_PAGE})["data"]
        return found

    def serve(self, job: str, checkpoint: str) -> dict[str, Any]:
        """Serve a checkpoint under its own name."""
        return self._jobs.answer("POST", job, "checkpoints", checkpoint, "serve", json={})

    def report(self, job: str) -> dict[str, Any] | None:
        """What the gate found; None while it has said nothing."""
        try:
            return self._jobs.answer("GET", job, "report")
        except PenstockError as error:
            if error.code == "not_found":
                return None
            raise

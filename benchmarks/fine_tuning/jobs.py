"""A stack's fine-tuning over HTTP: files in, jobs begun, watched, paused and ended, and their events read.

Owns the wire of `/v1/files` and `/v1/fine_tuning/jobs` as a measure needs it. Decides nothing of what is measured.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import FormData

from benchmarks.json_calls import JsonCalls
from models.errors import ConfigurationError, Unavailable

JOBS = "/v1/fine_tuning/jobs"
ENDED = ("succeeded", "failed", "cancelled")
MOST_EVENTS = 1000
WAIT_S = 1800.0
LOOK_S, CLOSE_LOOK_S = 0.5, 0.05


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a job. `at`: seconds since the epoch, by the stack's clock; `phase`: which one began with it."""

    at: float
    message: str
    data: Mapping[str, Any]

    @classmethod
    def read(cls, shown: Mapping[str, Any]) -> Self:
        """As the API shows it. Raises `ConfigurationError` for a stack that tells whole seconds alone."""
        if "penstock" not in shown:
            raise ConfigurationError("This stack does not tell exactly when events were (`penstock.at`). It is older.")
        return cls(float(shown["penstock"]["at"]), str(shown["message"]), shown.get("data") or {})

    @property
    def phase(self) -> str | None:
        """None where none began."""
        return self.data.get("phase")


class Jobs:
    """The jobs of the key's org."""

    def __init__(self, calls: JsonCalls, *, wait_s: float = WAIT_S) -> None:
        self._ask = calls.ask
        self._wait_s = wait_s

    async def upload(self, name: str, lines: Iterable[Mapping[str, Any]], *, purpose: str) -> str:
        """The id of a file of these lines."""
        form = FormData()
        form.add_field("purpose", purpose)
        content = "".join(f"{json.dumps(line)}\n" for line in lines)
        form.add_field("file", content.encode(), filename=name, content_type="application/jsonl")
        return str((await self._ask("POST", "/v1/files", data=form))["id"])

    async def forget(self, *files: str) -> None:
        """Delete files. One that cannot go, since a job of it has not ended yet, is left."""
        for file in files:
            with suppress(ConfigurationError, Unavailable):
                await self._ask("DELETE", f"/v1/files/{file}")

    async def create(self, asked: Mapping[str, Any]) -> str:
        """The id of a new job."""
        return str((await self._ask("POST", JOBS, json=dict(asked)))["id"])

    async def show(self, job: str) -> dict[str, Any]:
        """As it is now."""
        return await self._ask("GET", f"{JOBS}/{job}")

    async def events(self, job: str) -> list[Event]:
        """The last thousand, oldest first."""
        found = await self._ask("GET", f"{JOBS}/{job}/events", params={"limit": MOST_EVENTS})
        return [Event.read(one) for one in reversed(found["data"])]

    async def ended(self, job: str) -> dict[str, Any]:
        """The job when it has succeeded. Looks closely as soon as it does not train any more.

        Raises `Unavailable` with its reason when it ends otherwise.
        """
        return await self._until(job, lambda shown: shown["status"] == "succeeded")

    async def paused(self, job: str) -> None:
        """Pause it, and wait until it is."""
        await self._ask("POST", f"{JOBS}/{job}/pause")
        await self._until(job, lambda shown: shown["status"] == "paused")

    async def resumed(self, job: str) -> None:
        """Resume it, and wait until it has taken a step since."""
        before = (await self.show(job))["penstock"]["step"]
        await self._ask("POST", f"{JOBS}/{job}/resume")
        await self.stepped(job, before)

    async def stepped(self, job: str, before: int = 0) -> None:
        """Wait until it trains behind that step."""
        await self._until(job, lambda shown: shown["status"] == "running" and shown["penstock"]["step"] > before)

    async def cancelled(self, job: str) -> None:
        """End it, whatever it does, and wait until it has ended."""
        with suppress(ConfigurationError):  # it has ended by itself
            await self._ask("POST", f"{JOBS}/{job}/cancel")
        await self._until(job, lambda shown: shown["status"] in ENDED)

    async def _until(self, job: str, holds: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + self._wait_s
        while True:
            shown = await self.show(job)
            if holds(shown):
                return shown
            if shown["status"] in ENDED:
                why = (shown["error"] or {}).get("message") or "no reason is told"
                raise Unavailable(f"The job {job!r} ended as {shown['status']!r}: {why}")
            if time.monotonic() > deadline:
                raise Unavailable(f"The job {job!r} is still {shown['status']!r} after {self._wait_s:g} s.")
            close = shown["penstock"]["phase"] in ("publishing", "judging", "releasing")
            await asyncio.sleep(CLOSE_LOOK_S if close else LOOK_S)

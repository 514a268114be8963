"""A stack that fine-tunes for tests: jobs whose trainings take a step every few milliseconds, and adapters by hand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.calls import Address
from benchmarks.fine_tuning.jobs import Jobs
from benchmarks.json_calls import JsonCalls, json_calls
from serving.testing import FakeEngine, Receive, Scope, Script, Send
from tests.benchmarks.adapters.fleet_stack import KEY, answer, body_of

STEP_S = 0.005
PHASES = (("publishing", 0.0), ("judging", 0.4), ("releasing", 3.4), ("done", 3.9))
"""Seconds behind the end of the training, by the events' own times."""


@dataclass
class FakeJob:
    """One job. It trains while `since` is set; a short one ends at its third step."""

    asked: dict[str, Any]
    short: bool
    status: str = "running"
    since: float | None = field(default_factory=time.time)
    steps: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def advance(self) -> None:
        """Steps that are due."""
        while self.since is not None and time.time() >= self.since + STEP_S:
            self.since += STEP_S
            self.steps += 1
            self.tell(self.since, "Step", type="metrics", step=self.steps, train_loss=1.0, tokens=100.0 * self.steps)
            if self.short and self.steps == 3:
                self.tell(self.since + 0.05, "Checkpoint of step 3 is kept.", step=3)
                for phase, behind in PHASES:
                    self.tell(self.since + 0.15 + behind, phase, phase=phase)
                self.status, self.since = "succeeded", None

    def tell(self, at: float, message: str, *, type: str = "message", **data: Any) -> None:
        self.events.append({"message": message, "type": type, "data": data, "penstock": {"at": at}})


class TuningStack:
    """Jobs with a golden file are short. `fails`: why every job ends; `silent`: models that do not answer."""

    def __init__(self) -> None:
        self.engine = FakeEngine(Script(tokens=4))
        self.jobs: list[FakeJob] = []
        self.files: dict[str, bytes] = {}
        self.deleted: list[str] = []
        self.pushed: list[bytes] = []
        self.wishes: list[str] = []
        self.fails: str | None = None
        self.silent: set[str] = set()
        self.waiting: list[str] = []
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if dict(scope["headers"]).get(b"authorization") != f"Bearer {KEY}".encode():
            await answer(send, 401, {"error": {"message": "no such key"}})
            return
        match scope["path"].removeprefix("/v1/").split("/"):
            case ["files", *rest]:
                await answer(send, 200, self._file(rest, await body_of(receive)))
            case ["fine_tuning", "jobs", *rest]:
                await self._job(rest, await body_of(receive), send=send)
            case ["adapters", _, verb]:
                await answer(send, 200, self._adapter(verb, await body_of(receive)))
            case _:
                await self._chat(scope, receive, send=send)

    def _file(self, rest: list[str], content: bytes) -> dict[str, Any]:
        if rest:
            self.deleted += rest
            return {"deleted": True}
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return {"id": name}

    async def _job(self, rest: list[str], content: bytes, *, send: Send) -> None:
        if not rest:
            asked = orjson.loads(content)
            self.jobs.append(FakeJob(asked, short="golden_file" in (asked.get("penstock") or {})))
            await answer(send, 200, {"id": f"ftjob-{len(self.jobs) - 1}"})
            return
        job = self.jobs[int(rest[0].removeprefix("ftjob-"))]
        job.advance()
        if rest[1:] == ["events"]:
            await answer(send, 200, {"data": job.events[:-1001:-1]})
            return
        if rest[1:]:
            self._wish(job, rest[1])
        await answer(send, 200, self._shown(job, rest[0]))

    def _wish(self, job: FakeJob, wish: str) -> None:
        self.wishes.append(wish)
        job.status = {"pause": "paused", "resume": "running", "cancel": "cancelled"}[wish]
        job.since = time.time() if wish == "resume" else None

    def _shown(self, job: FakeJob, name: str) -> dict[str, Any]:
        status = "failed" if self.fails else job.status
        return {
            "id": name,
            "status": status,
            "error": {"message": self.fails} if self.fails else None,
            "fine_tuned_model": f"ft:{name}" if status == "succeeded" else None,
            "penstock": {"step": job.steps, "phase": "training" if job.since else "done"},
        }

    def _adapter(self, verb: str, content: bytes) -> dict[str, Any]:
        if verb == "versions":
            self.pushed.append(content)
            return {"version": len(self.pushed)}
        if verb == "load":
            version = orjson.loads(content)["version"]
            return {"model": f"by-hand@{version}", "replicas": [{"replica": "a"}], "waiting": self.waiting}
        self.wishes.append(verb)
        return {}

    async def _chat(self, scope: Scope, receive: Receive, *, send: Send) -> None:
        raw = await body_of(receive)
        if orjson.loads(raw)["model"] in self.silent:
            await answer(send, 503, {"error": {"message": "not now"}})
            return
        messages = [{"type": "http.request", "body": raw, "more_body": False}]

        async def again() -> Any:
            return messages.pop() if messages else await receive()

        await self.engine(scope, again, send)


@asynccontextmanager
async def at(stack: TuningStack, key: str = KEY) -> AsyncIterator[tuple[Jobs, JsonCalls]]:
    """Its jobs, and the calls under them."""
    async with json_calls(Address(stack.url, "", key)) as calls:
        yield Jobs(calls, wait_s=20), calls

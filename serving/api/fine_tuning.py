"""/v1/fine_tuning/jobs as OpenAI's SDK calls it, and what becomes of a fine-tuned model: DELETE /v1/models/{id}.

What may be done is `serving/tuning`'s to say. Everything is the caller's org's: another org's job is not found.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from finetune.gate.report import markdown
from models.errors import InvalidRequest, NotFound
from models.types import Principal
from serving.adapters.releases import Actor
from serving.api.access import authorize
from serving.api.adapters import ENGINEERS
from serving.api.body import JsonBodies
from serving.api.checks import invalid
from serving.api.deps import ApiDependencies
from serving.api.errors import echo
from serving.api.paging import Paging, page, query
from serving.api.parameters import check_metadata
from serving.api.tuning_wire import checked, checkpoint_id, shown_checkpoint, shown_event, shown_job
from serving.tuning import job_rules
from serving.tuning.jobs import JobDesk, Seen

EVENT = "ftevent-"
CHECKPOINT = re.compile(r"ftckpt-[0-9a-f]{24}-([0-9]{1,12})")
PAIR = re.compile(r"metadata\[([^\]\"\\]{1,64})\]")
JOBS = Paging(re.compile(r"ftjob-[0-9a-f]{24}"), default=20, most=100, pairs=PAIR, ordered=False)
EVENTS = Paging(re.compile(rf"{EVENT}[0-9]{{1,15}}"), default=20, most=1000)
CHECKPOINTS = Paging(CHECKPOINT, default=20, most=100, ordered=False)

Wish = Callable[[JobDesk, str, str], Awaitable[Seen]]


class FineTuningRoutes:
    """The routes. Bodies and queries are strict."""

    def __init__(self, deps: ApiDependencies, bodies: JsonBodies) -> None:
        self._deps = deps
        self._bodies = bodies

    async def create(self, request: Request) -> Response:
        """A new job."""
        caller = await self._caller(request)
        asked = await self._bodies.read(request.scope, request.receive, reader=checked)
        return _json(shown_job(await self._jobs.create(caller, asked)))

    async def list(self, request: Request) -> Response:
        """The org's jobs, newest first."""
        caller = await self._caller(request)
        asked = JOBS.asked(request)
        metadata = {pair[1]: value for name, value in asked.also.items() if (pair := PAIR.fullmatch(name))}
        check_metadata(metadata, "metadata")
        found, more = await self._jobs.list(caller.org, after=asked.after, limit=asked.limit, metadata=metadata)
        return _json(page([shown_job(seen) for seen in found], more=more))

    async def show(self, request: Request) -> Response:
        """One job."""
        caller = await self._caller(request)
        return _json(shown_job(await self._jobs.show(caller.org, _job(request))))

    async def cancel(self, request: Request) -> Response:
        """End it."""
        return await self._wished(request, JobDesk.cancel)

    async def pause(self, request: Request) -> Response:
        """Let it wait."""
        return await self._wished(request, JobDesk.pause)

    async def resume(self, request: Request) -> Response:
        """Let it go on."""
        return await self._wished(request, JobDesk.resume)

    async def events(self, request: Request) -> Response:
        """What happened to it, newest first; `order=asc`: oldest first."""
        caller = await self._caller(request)
        asked = EVENTS.asked(request)
        after = None if asked.after is None else int(asked.after.removeprefix(EVENT))
        newest_first = asked.order == "desc"
        rows, more = await self._jobs.events(
            caller.org, _job(request), after=after, limit=asked.limit, newest_first=newest_first
        )
        return _json(page([shown_event(row) for row in rows], more=more))

    async def checkpoints(self, request: Request) -> Response:
        """Its complete checkpoints, newest first."""
        caller, job = await self._caller(request), _job(request)
        asked = CHECKPOINTS.asked(request)
        after = None if asked.after is None else _step(job, asked.after)
        if asked.after is not None and after is None:
            raise invalid("after", "the id of a checkpoint of this job")
        row, found, more = await self._jobs.checkpoints(caller.org, job, after=after, limit=asked.limit)
        return _json(page([shown_checkpoint(row, one) for one in found], more=more))

    async def serve(self, request: Request) -> Response:
        """Serve one of its checkpoints under a name of its own, to be held against others."""
        caller, desk = await self._caller(request), self._deps.tuning
        seen = await self._jobs.show(caller.org, _job(request))
        step = _step(seen.row.id, request.path_params["checkpoint"])
        if step is None:
            raise NotFound("The job has no such checkpoint.", param="checkpoint")
        if desk is None or desk.finish is None or self._deps.adapters is None:
            raise NotFound("This stack does not fine-tune: no engine of it loads adapters.")
        row = await self._deps.adapters.run(desk.finish.serve_checkpoint(seen.row, step))
        return _json(shown_checkpoint(seen.row, row))

    async def report(self, request: Request) -> Response:
        """What the gate found: JSON, or, with `format=markdown`, a page to read."""
        caller = await self._caller(request)
        shape = query(request, {"format"}).get("format", "json")
        if shape not in ("json", "markdown"):
            raise invalid("format", "one of 'json', 'markdown'")
        found = await self._jobs.report(caller.org, _job(request))
        if shape == "json":
            return _json(found)
        return Response(markdown(found), media_type="text/markdown")

    async def delete_model(self, request: Request) -> Response:
        """Delete a fine-tuned model: its name, and the version behind it."""
        caller, name = await self._caller(request), request.path_params["id"]
        known = self._deps.models.knows(name, caller)
        if known and not name.startswith(job_rules.TUNED):
            raise InvalidRequest(
                f"Only a fine-tuned model is deleted, and {echo(name)!r} is none: its name begins with 'ft:'.",
                param="model",
            )
        desk = self._deps.adapters
        if desk is None or not name.startswith(job_rules.TUNED):
            raise NotFound(f"The model '{echo(name)}' does not exist.", code="model_not_found", param="model")
        await desk.run(desk.withdraw(Actor(caller.org, caller.key_id), name))
        return _json({"id": name, "object": "model", "deleted": True})

    @property
    def _jobs(self) -> JobDesk:
        if self._deps.tuning is None:
            raise NotFound("This stack does not fine-tune: no engine of it loads adapters.")
        return self._deps.tuning.jobs

    async def _caller(self, request: Request) -> Principal:
        return await authorize(request.scope, self._deps.keys, roles=ENGINEERS)

    async def _wished(self, request: Request, wish: Wish) -> Response:
        """Bodies are not read: the SDK sends none, or an empty object."""
        caller = await self._caller(request)
        return _json(shown_job(await wish(self._jobs, caller.org, _job(request))))


def _job(request: Request) -> str:
    return str(request.path_params["job"])


def _step(job: str, checkpoint: str) -> int | None:
    """The step in the id of one of this job's checkpoints; None for whatever else it is."""
    found = CHECKPOINT.fullmatch(checkpoint)
    step = None if found is None else int(found[1])
    return step if step is not None and checkpoint_id(job, step) == checkpoint else None


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


Route = Callable[[Request], Awaitable[Response]]


def table(routes: FineTuningRoutes) -> list[tuple[str, str, Route]]:
    """Method, path and endpoint of each."""
    jobs, job = "/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/{job}"
    return [
        ("POST", jobs, routes.create),
        ("GET", jobs, routes.list),
        ("GET", job, routes.show),
        ("POST", f"{job}/cancel", routes.cancel),
        ("POST", f"{job}/pause", routes.pause),
        ("POST", f"{job}/resume", routes.resume),
        ("GET", f"{job}/events", routes.events),
        ("GET", f"{job}/checkpoints", routes.checkpoints),
        ("POST", f"{job}/checkpoints/{{checkpoint}}/serve", routes.serve),
        ("GET", f"{job}/report", routes.report),
        ("DELETE", "/v1/models/{id:path}", routes.delete_model),
    ]

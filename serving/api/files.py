"""/v1/files: training and evaluation files come in, are listed, are read again, and go. Owns the wire shapes.

What may be kept is `serving/tuning`'s to say. Everything is the caller's org's: another org's file is not found.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from models.errors import NotFound
from models.types import Principal
from serving.adapters.releases import Actor
from serving.api.access import authorize
from serving.api.adapters import ENGINEERS
from serving.api.checks import invalid, missing
from serving.api.deps import ApiDependencies
from serving.api.forms import Forms
from serving.api.handed import Handed
from serving.api.paging import Paging, page
from serving.api.uploads import Uploads
from serving.store.files import FileRow
from serving.tuning.files import FileDesk, Told, no_such_file

FILE_ID = re.compile(r"file-[0-9a-z]{1,58}")
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
FIELDS = frozenset({"purpose", ANCHOR, SECONDS})
SHORTEST_S, LONGEST_S = 3600, 30 * 86400
PAGES = Paging(FILE_ID, default=1000, most=10_000, also=frozenset({"purpose"}))


class FileRoutes:
    """The routes."""

    def __init__(self, deps: ApiDependencies, uploads: Uploads) -> None:
        self._deps = deps
        self._uploads = uploads

    async def create(self, request: Request) -> Response:
        """A form with `file` and `purpose`, and when the file expires; answers when it is checked and kept."""
        caller = await self._caller(request)
        forms = Forms(self._uploads, most_bytes=min(self._desk.max_bytes, self._deps.http.max_upload_bytes))
        async with forms.received(request.scope, request.receive, known=FIELDS, work=self._desk.work) as form:
            told = _told(form.name, form.fields)
            row = await self._desk.receive(Actor(caller.org, caller.key_id), form.file, told=told)
        return _json(shown_file(row))

    async def list(self, request: Request) -> Response:
        """Some of the org's files, newest first unless `order` says otherwise."""
        caller = await self._caller(request)
        asked = PAGES.asked(request)
        found = await self._desk.page(
            caller.org, after=asked.after, limit=asked.limit, order=asked.order, purpose=asked.also.get("purpose")
        )
        return _json(page([shown_file(row) for row in found.rows], more=found.more))

    async def show(self, request: Request) -> Response:
        """One file."""
        caller = await self._caller(request)
        return _json(shown_file(await self._desk.show(caller.org, _id(request))))

    async def delete(self, request: Request) -> Response:
        """Forget a file with its bytes."""
        caller = await self._caller(request)
        await self._desk.delete(caller.org, _id(request))
        return _json({"id": _id(request), "object": "file", "deleted": True})

    async def content(self, request: Request) -> Response:
        """The bytes as they came."""
        caller = await self._caller(request)
        row, draft = await self._desk.content(caller.org, _id(request))
        return Handed(draft, media_type="application/octet-stream", filename=row.name)

    @property
    def _desk(self) -> FileDesk:
        if self._deps.tuning is None or self._deps.tuning.files is None:
            raise NotFound("This stack keeps no files: none of its engines loads adapters.")
        return self._deps.tuning.files

    async def _caller(self, request: Request) -> Principal:
        return await authorize(request.scope, self._deps.keys, roles=ENGINEERS)


def shown_file(row: FileRow) -> dict[str, Any]:
    """A file as OpenAI shows it, and under `penstock` what the check found."""
    return {
        "id": row.id,
        "object": "file",
        "bytes": row.bytes,
        "created_at": int(row.created_at),
        "expires_at": None if row.expires_at is None else int(row.expires_at),
        "filename": row.name,
        "purpose": row.purpose,
        "status": "processed",
        "status_details": None,
        "penstock": {"digest": row.digest, "facts": row.facts},
    }


def _told(name: str, fields: Mapping[str, str]) -> Told:
    if "purpose" not in fields:
        raise missing("purpose")
    anchor, seconds = fields.get(ANCHOR), fields.get(SECONDS)
    if (anchor is None) != (seconds is None):
        raise missing(ANCHOR if anchor is None else SECONDS)
    if anchor not in (None, "created_at"):
        raise invalid(ANCHOR, "'created_at'")
    return Told(name, fields["purpose"], None if seconds is None else _seconds(seconds))


def _seconds(told: str) -> int:
    if not (told.isascii() and told.isdigit() and len(told) < 10 and SHORTEST_S <= int(told) <= LONGEST_S):
        raise invalid(SECONDS, f"an integer from {SHORTEST_S} to {LONGEST_S}")
    return int(told)


def _id(request: Request) -> str:
    told = str(request.path_params["id"])
    if not FILE_ID.fullmatch(told):
        raise no_such_file()
    return told


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


Route = Callable[[Request], Awaitable[Response]]


def table(routes: FileRoutes) -> list[tuple[str, str, Route]]:
    """Method, path and endpoint of each."""
    return [
        ("POST", "/v1/files", routes.create),
        ("GET", "/v1/files", routes.list),
        ("GET", "/v1/files/{id}", routes.show),
        ("DELETE", "/v1/files/{id}", routes.delete),
        ("GET", "/v1/files/{id}/content", routes.content),
    ]

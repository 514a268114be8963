"""POST /v1/feedback: an opinion on an answer, joined to its record. Does not own records."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.api.access import INFERENCE, authorize
from serving.api.body import JsonBodies
from serving.api.checks import Check, members, one_of, string
from serving.api.deps import ApiDependencies

MAX_TEXT = 64 * 1024
_CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "request_id": string(64, shortest=1),
        "rating": one_of("up", "down"),
        "comment": string(4096),
        "corrected": string(MAX_TEXT),
    }
)


class Feedback:
    """The feedback route."""

    def __init__(self, deps: ApiDependencies, bodies: JsonBodies) -> None:
        self._deps = deps
        self._bodies = bodies

    async def give(self, request: Request) -> Response:
        """Keep one opinion: `request_id`, `rating` up or down, and optionally `comment` and `corrected`."""
        deps = self._deps
        caller = await authorize(request.scope, deps.keys, roles=INFERENCE)
        body = await self._bodies.read(request.scope, request.receive, reader=_checked)
        await deps.records.feedback(
            body["request_id"],
            caller,
            rating=body["rating"],
            comment=body.get("comment"),
            corrected=body.get("corrected"),
        )
        answer = {"object": "feedback", "request_id": body["request_id"], "rating": body["rating"]}
        return Response(orjson.dumps(answer), media_type="application/json")


def _checked(body: dict[str, Any]) -> dict[str, Any]:
    members(body, "", checks=_CHECKS, required=("request_id", "rating"))
    return body

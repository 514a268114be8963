"""POST /v1/router/explain and GET /v1/router/status: why a request goes where it goes, and how the router does.

Owns the wire. What is explained is `serving/classifier/explainer.py`'s.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from models.errors import InvalidRequest
from models.types import GenerationRequest
from serving.api.access import INFERENCE, WATCHERS, authorize
from serving.api.body import JsonBodies
from serving.api.call import call_of
from serving.api.chat import ChatReader
from serving.api.completions import CompletionReader
from serving.api.deps import ApiDependencies
from serving.api.generation import arrival_of, check_model
from serving.api.generation_request import Arrival


class RouterRoutes:
    """The two routes."""

    def __init__(self, deps: ApiDependencies, bodies: JsonBodies) -> None:
        self._deps = deps
        self._bodies = bodies
        self._chat, self._completion = ChatReader(deps.http), CompletionReader(deps.http)

    async def explain(self, request: Request) -> Response:
        """A chat or completion body as it would be sent; `model` may be left out for `auto`. Nothing is generated."""
        deps = self._deps
        caller = await authorize(request.scope, deps.keys, roles=INFERENCE)
        with deps.limiter.hold(caller):
            arrival = arrival_of(request.scope, call_of(request.scope))
            asked = await self._bodies.read(
                request.scope, request.receive, reader=lambda body: self._request(body, arrival)
            )
            check_model(asked, caller, models=deps.models)
            return _json(await deps.explainer.explain(asked, caller))

    async def status(self, request: Request) -> Response:
        """What is live, what it decided lately, drift, warnings."""
        await authorize(request.scope, self._deps.keys, roles=WATCHERS)
        return _json(await self._deps.explainer.status(self._deps.clock.now()))

    def _request(self, body: dict[str, Any], arrival: Arrival) -> GenerationRequest:
        whole = {"model": "auto", **body}
        if "messages" in whole and "prompt" in whole:
            raise InvalidRequest("Send 'messages' or 'prompt', not both.", param="prompt")
        reader = self._completion if "prompt" in whole else self._chat
        return reader.read(whole, arrival)


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")

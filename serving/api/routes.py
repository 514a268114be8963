"""Every path of the gateway in one table, and `build_api`, which turns the table into an application.

Owns paths and methods. Does not own what a route does: each is one endpoint elsewhere.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from models.errors import NotFound
from serving.api.adapters import AdapterRoutes
from serving.api.adapters import table as adapter_table
from serving.api.admin_keys import AdminKeys
from serving.api.body import JsonBodies
from serving.api.chat import ChatReader
from serving.api.completions import CompletionReader
from serving.api.deps import ApiDependencies
from serving.api.edge import Edge
from serving.api.errors import MethodNotAllowed
from serving.api.feedback import Feedback
from serving.api.files import FileRoutes
from serving.api.files import table as file_table
from serving.api.fine_tuning import FineTuningRoutes
from serving.api.fine_tuning import table as tuning_table
from serving.api.gate import Gate
from serving.api.generation import Generation
from serving.api.listings import Listings
from serving.api.operations import Operations
from serving.api.router import RouterRoutes
from serving.api.uploads import Uploads

RECORDED = {"/v1/chat/completions": "chat", "/v1/completions": "completion"}
# Where a path may hold percent-encoded characters: in a name at its end.
NAMED = (b"/v1/models/", b"/admin/keys/")


def build_api(deps: ApiDependencies) -> ASGIApp:
    """The whole HTTP layer around the given surroundings."""
    return Edge(
        Routes(_routes(deps)),
        gate=Gate(deps.http),
        records=deps.records,
        clock=deps.clock,
        recorded=RECORDED,
    )


def _routes(deps: ApiDependencies) -> list[BaseRoute]:
    bodies = JsonBodies(deps.http, deps.timers)
    listings, operations, admin_keys = Listings(deps), Operations(deps), AdminKeys(deps, bodies)
    router = RouterRoutes(deps, bodies)
    uploads = Uploads(deps.http, deps.timers)
    adapters = adapter_table(AdapterRoutes(deps, bodies, uploads=uploads))
    files = file_table(FileRoutes(deps, uploads))
    tuning = tuning_table(FineTuningRoutes(deps, bodies))
    return [
        Route("/v1/chat/completions", Generation(deps, ChatReader(deps.http), bodies=bodies), methods=["POST"]),
        Route("/v1/completions", Generation(deps, CompletionReader(deps.http), bodies=bodies), methods=["POST"]),
        Route("/v1/models", listings.models, methods=["GET"]),
        Route("/v1/models/{id:path}", listings.model, methods=["GET"]),
        Route("/v1/feedback", Feedback(deps, bodies).give, methods=["POST"]),
        Route("/v1/router/explain", router.explain, methods=["POST"]),
        Route("/v1/router/status", router.status, methods=["GET"]),
        *(Route(path, endpoint, methods=[method]) for method, path, endpoint in (*adapters, *files, *tuning)),
        Route("/health", operations.health, methods=["GET"]),
        Route("/ready", operations.ready, methods=["GET"]),
        Route("/metrics", operations.metrics, methods=["GET"]),
        Route("/version", operations.version, methods=["GET"]),
        Route("/admin/keys", admin_keys.list, methods=["GET"]),
        Route("/admin/keys", admin_keys.create, methods=["POST"]),
        Route("/admin/keys/{id}", admin_keys.revoke, methods=["DELETE"]),
    ]


class Routes(FastAPI):
    """FastAPI without pages of its own and without its error layers: the edge around it answers every error.

    The generation calls are found by one look at a table; the search through the routes would be a part of their time.
    """

    def __init__(self, routes: list[BaseRoute]) -> None:
        super().__init__(routes=routes, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        plain = (route for route in routes if isinstance(route, Route) and isinstance(route.endpoint, Generation))
        self._generations = {("POST", route.path): route.endpoint for route in plain}

    def build_middleware_stack(self) -> ASGIApp:
        """Nothing between the edge and the routes."""
        return self.router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a path or method that does not exist is an error of ours."""
        if scope["type"] == "http" and _is_disguised(scope):
            raise _unknown_url()
        if scope["type"] == "http" and (call := (scope["method"], scope["path"])) in self._generations:
            await self._generations[call](scope, receive, send)
            return
        try:
            await super().__call__(scope, receive, send)
        except HTTPException as error:
            raise (MethodNotAllowed(self._allowed(scope)) if error.status_code == 405 else _unknown_url()) from error

    def _allowed(self, scope: Scope) -> set[str]:
        hits = (route for route in self.routes if isinstance(route, Route) and route.matches(scope)[0] != Match.NONE)
        return {method for route in hits for method in route.methods or ()}


def _is_disguised(scope: Scope) -> bool:
    """Whether a fixed part of the path was written in percent encoding."""
    raw: bytes = scope.get("raw_path") or b""
    plain, encoded, _ = raw.partition(b"%")
    return bool(encoded) and not plain.startswith(NAMED)


def _unknown_url() -> NotFound:
    return NotFound("There is nothing at this path.", code="unknown_url")

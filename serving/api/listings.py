"""GET /v1/models and /v1/models/{id}: what the caller may name. No path of the server appears in them."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from models.errors import NotFound
from models.types import Principal
from serving.api.access import INFERENCE, authorize
from serving.api.deps import ApiDependencies, ModelListing
from serving.api.errors import echo


class Listings:
    """The two model routes."""

    def __init__(self, deps: ApiDependencies) -> None:
        self._deps = deps

    async def models(self, request: Request) -> Response:
        """Every name open to the caller."""
        caller = await authorize(request.scope, self._deps.keys, roles=INFERENCE)
        return _json({"object": "list", "data": [_wire(listing) for listing in self._open_to(caller)]})

    async def model(self, request: Request) -> Response:
        """One of them; a name that exists for others only answers like one that exists for nobody."""
        caller = await authorize(request.scope, self._deps.keys, roles=INFERENCE)
        name = request.path_params["id"]
        for listing in self._open_to(caller):
            if listing.id == name:
                return _json(_wire(listing))
        raise NotFound(f"The model '{echo(name)}' does not exist.", code="model_not_found", param="model")

    def _open_to(self, caller: Principal) -> list[ModelListing]:
        return [listing for listing in self._deps.models.visible(caller) if caller.may_use(listing.id)]


def _wire(listing: ModelListing) -> dict[str, Any]:
    return {
        "id": listing.id,
        "object": "model",
        "created": listing.created,
        "owned_by": "penstock",
        "parent": listing.parent,
        "tier": listing.tier,
    }


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")

"""/admin/keys: keys made, listed, revoked by admins. Owns the wire shape; the rules are `serving/tenancy/keys.py`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from models.errors import NotFound
from models.types import ROLES
from serving.api.access import ADMIN, authorize
from serving.api.body import JsonBodies
from serving.api.checks import Check, integer, items, members, number, one_of, string
from serving.api.deps import ApiDependencies
from serving.store.keys import KeyRow
from serving.tenancy.keys import KeySpec

_NAME = string(128, shortest=1)


def _check_models(value: Any, param: str) -> None:
    items(value, param, each=_NAME, most=64, least=1)


_CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "org": _NAME,
        "user": _NAME,
        "name": _NAME,
        "role": one_of(*ROLES),
        "expires_at": number(0, 2**53),
        "models": _check_models,
        "concurrency": integer(1, 10_000),
    }
)


class AdminKeys:
    """The three key routes."""

    def __init__(self, deps: ApiDependencies, bodies: JsonBodies) -> None:
        self._deps = deps
        self._bodies = bodies

    async def list(self, request: Request) -> Response:
        """Every key, without secrets."""
        await authorize(request.scope, self._deps.keys, roles=ADMIN)
        rows = await self._deps.key_admin.list()
        return _json({"object": "list", "data": [_wire(row) for row in rows]})

    async def create(self, request: Request) -> Response:
        """Make a key; `key` in this answer is the only time its secret is shown."""
        await authorize(request.scope, self._deps.keys, roles=ADMIN)
        spec = await self._bodies.read(request.scope, request.receive, reader=_spec)
        row, secret = await self._deps.key_admin.create(spec)
        return _json({**_wire(row), "key": secret}, status=201)

    async def revoke(self, request: Request) -> Response:
        """Refuse a key from now on."""
        await authorize(request.scope, self._deps.keys, roles=ADMIN)
        key_id = request.path_params["id"]
        if not await self._deps.key_admin.revoke(key_id):
            raise NotFound("No such key.")
        return _json({"id": key_id, "object": "key", "revoked": True})


def _spec(body: dict[str, Any]) -> KeySpec:
    members(body, "", checks=_CHECKS, required=("org", "user"))
    given = {name: value for name, value in body.items() if value is not None}
    if "models" in given:
        given["models"] = tuple(given["models"])
    return KeySpec(**given)


def _wire(row: KeyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "object": "key",
        "prefix": row.prefix,
        "name": row.name,
        "org": row.org,
        "user": row.user,
        "role": row.role,
        "models": row.models,
        "concurrency": row.concurrency,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
    }


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")

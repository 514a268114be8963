"""Where the keys of a stack are reached: in its store, or over HTTP with an admin's key.

Owns the two ways and what a key looks like to the command line. The rules are `serving/tenancy/keys.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

import httpx2

from models.clock import SystemClock
from models.errors import InvalidRequest, NotFound, PenstockError, Unavailable
from serving.commands.target import store_url_of, target_of
from serving.state import StateDir
from serving.store.keys import KeyRow
from serving.store.store import Store
from serving.tenancy.keys import KeyAdmin, KeySpec

SHOWN = (
    "id",
    "prefix",
    "name",
    "org",
    "user",
    "role",
    "models",
    "concurrency",
    "created_at",
    "expires_at",
    "revoked_at",
)
PATIENCE_S = 30.0


class Keys(Protocol):
    """The keys of one stack, near or far. A key is a mapping as `/admin/keys` answers it."""

    async def create(self, spec: KeySpec) -> dict[str, Any]: ...
    async def list(self) -> list[dict[str, Any]]: ...
    async def revoke(self, key_id: str) -> None: ...
    async def keep_text(self, org: str, keep: bool) -> None: ...


class StoredKeys:
    """The keys in a store that this machine reaches; needs no running stack."""

    def __init__(self, admin: KeyAdmin) -> None:
        self._admin = admin

    async def create(self, spec: KeySpec) -> dict[str, Any]:
        """The new key, with its secret under `key`."""
        row, secret = await self._admin.create(spec)
        return {**_shown(row), "key": secret}

    async def list(self) -> list[dict[str, Any]]:
        """Every key, newest first."""
        return [_shown(row) for row in await self._admin.list()]

    async def revoke(self, key_id: str) -> None:
        """Refuse a key from now on."""
        if not await self._admin.revoke(key_id):
            raise NotFound("No such key. `penstock keys list` shows the ids.")

    async def keep_text(self, org: str, keep: bool) -> None:
        """Whether records of an org keep prompt and answer."""
        await self._admin.keep_text(org, keep)


class RemoteKeys:
    """The keys of a stack elsewhere, over HTTP with an admin's key."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def create(self, spec: KeySpec) -> dict[str, Any]:
        """The new key, with its secret under `key`."""
        given = {name: getattr(spec, name) for name in KeySpec.__slots__ if name != "keep_text"}
        body = {name: value for name, value in given.items() if value is not None}
        return await self._call("POST", "/admin/keys", body=body)

    async def list(self) -> list[dict[str, Any]]:
        """Every key, newest first."""
        return cast("list[dict[str, Any]]", (await self._call("GET", "/admin/keys"))["data"])

    async def revoke(self, key_id: str) -> None:
        """Refuse a key from now on."""
        await self._call("DELETE", f"/admin/keys/{key_id}")

    async def keep_text(self, org: str, keep: bool) -> None:
        """Not open over HTTP."""
        raise InvalidRequest(
            f"Org {org!r} can be switched {'on' if keep else 'off'} only where the store is: without PENSTOCK_URL."
        )

    async def _call(self, method: str, path: str, *, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, path, json=body)
            found = answer.json()
            if answer.is_success:
                return cast("dict[str, Any]", found)
            raise PenstockError(found["error"]["message"], code=found["error"]["code"])
        except httpx2.HTTPError as error:
            raise Unavailable("The stack of PENSTOCK_URL does not answer.", detail=str(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("What answers at PENSTOCK_URL is not a Penstock.", detail=repr(error)) from error


@asynccontextmanager
async def open_keys(state: StateDir, environment: Mapping[str, str]) -> AsyncGenerator[Keys]:
    """The keys of the stack that is meant: the one of `PENSTOCK_URL`, or the one of the state folder."""
    if environment.get("PENSTOCK_URL"):
        target = target_of(state, environment)
        headers = {"Authorization": f"Bearer {target.key}"}
        async with httpx2.AsyncClient(base_url=target.url, headers=headers, timeout=PATIENCE_S) as client:
            yield RemoteKeys(client)
    else:
        async with Store.open(store_url_of(state)) as store:
            yield StoredKeys(KeyAdmin(store.keys, clock=SystemClock()))


def _shown(row: KeyRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in SHOWN}

"""Adapters over HTTP, inside a replica's door: load, unload, list, and what a generation call says of its adapter.

    PUT    /adapters                     {"engine_name", "artifact", "digest"} → the times that it took
    DELETE /adapters/NAME?wait_s=30      when no call uses it any more
    GET    /adapters                     every version, and the engine's own figures

Owns routes, statuses and JSON. Does not own what is loaded (`adapters.py`); the door has checked the token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import msgspec

from models.adapters.names import AdapterRef
from serving.engines.adapter_status import standing
from serving.engines.adapters import AdapterShelf, Failed
from serving.engines.asgi import Receive, Refused, Scope, Send, answer, refuse

ADAPTERS = "/adapters"
ADAPTER = "x-penstock-adapter"  # header of a generation: `AdapterRef.header` of the version it wants
ADAPTER_HEADER = ADAPTER.encode()
LONGEST_BYTES = 2**12
WAIT_S = 30.0
LONGEST_WAIT_S = 600.0
STATUSES = {"adapter_failed": 503, "adapter_unknown": 404, "adapter_busy": 409, "server_shutting_down": 503}
RETRY_AFTER_S = {"adapter_failed": 5, "server_shutting_down": 1}


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a load."""

    engine_name: str
    artifact: str
    digest: str


class AdapterDoor:
    """An ASGI app, and the door's way to the adapters of its calls. Without a shelf it refuses everything."""

    def __init__(self, shelf: AdapterShelf | None) -> None:
        self._shelf = shelf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request under `/adapters`."""
        try:
            await answer(send, 200, payload=await self._reply(scope, receive))
        except Refused as refusal:
            await refuse(send, refusal)

    def named(self, scope: Scope) -> AdapterRef | None:
        """The version that a call wants; None for the base model. Raises `Refused`."""
        sent = [value.decode("latin-1") for name, value in scope["headers"] if name == ADAPTER_HEADER]
        if not sent:
            return None
        self._required()
        if len(sent) > 1 or (ref := AdapterRef.of(sent[0])) is None:
            raise Refused("invalid_adapter", status=400, message=f"The header {ADAPTER!r} names no adapter.")
        return ref

    def ready(self, ref: AdapterRef) -> bool:
        """Whether a call may use it at once."""
        return self._required().ready(ref)

    async def loaded(self, ref: AdapterRef) -> None:
        """Have it loaded for a call. Raises `Refused`."""
        outcome = await self._required().ensure(ref, patient=False)
        if isinstance(outcome, Failed):
            raise refused(outcome)

    @asynccontextmanager
    async def held(self, ref: AdapterRef) -> AsyncIterator[None]:
        """One call that uses it. Raises `Refused`."""
        async with self._required().hold(ref) as failed:
            if failed is not None:
                raise refused(failed)
            yield

    async def close(self) -> None:
        """Load nothing from now on."""
        if self._shelf is not None:
            await self._shelf.close()

    async def _reply(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        shelf = self._required()
        match scope["method"], scope["path"].removeprefix(ADAPTERS).split("/"):
            case "GET", [""]:
                return await standing(shelf)
            case "PUT", [""]:
                return await _load(shelf, await _ref(receive))
            case "DELETE", ["", name]:
                return await _unload(shelf, name, wait_s=_wait_s(scope))
        raise Refused("unknown_url", status=404)

    def _required(self) -> AdapterShelf:
        if self._shelf is None:
            raise Refused(
                "adapters_disabled",
                status=400,
                message="This engine runs without adapters: its card says `lora.enabled: false`.",
            )
        return self._shelf


def refused(failed: Failed) -> Refused:
    """What failed, as an answer."""
    return Refused(failed.code, RETRY_AFTER_S.get(failed.code), status=STATUSES[failed.code], message=failed.message)


async def _load(shelf: AdapterShelf, ref: AdapterRef) -> dict[str, Any]:
    outcome = await shelf.ensure(ref)
    if isinstance(outcome, Failed):
        raise refused(outcome)
    return {"engine_name": ref.engine_name, **msgspec.to_builtins(outcome)}


async def _unload(shelf: AdapterShelf, name: str, *, wait_s: float) -> dict[str, Any]:
    failed = await shelf.drop(name, wait_s=wait_s)
    if failed is not None:
        raise refused(failed)
    return {"engine_name": name, "unloaded": True}


async def _ref(receive: Receive) -> AdapterRef:
    body, more = b"", True
    while more and len(body) <= LONGEST_BYTES:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    try:
        wanted = msgspec.json.decode(body, type=Wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        wanted = Wanted("", "", "")
    ref = AdapterRef.of(f"{wanted.engine_name} {wanted.artifact} {wanted.digest}")
    if ref is None:
        text = "The body must be an object of `engine_name`, `artifact` and `digest` that name an adapter's version."
        raise Refused("invalid_adapter", status=400, message=text)
    return ref


def _wait_s(scope: Scope) -> float:
    sent = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("wait_s", [str(WAIT_S)])[-1]
    try:
        wait_s = float(sent)
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s <= LONGEST_WAIT_S:
        text = f"`wait_s` must be a number of seconds from 0 to {LONGEST_WAIT_S:g}."
        raise Refused("invalid_value", status=400, message=text)
    return wait_s

"""Reading a request's JSON body: its type, its size while it arrives, how long it may take, and where it is read.

Owns the bytes, and that a long body holds nobody else up. Does not own what they spell (`models.strict_json`) or
mean (the readers).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.types import Receive, Scope

from models.errors import InvalidRequest
from models.strict_json import parse_object
from serving.api.departure import ClientGone
from serving.api.gate import too_large
from serving.settings import HttpSettings, TimerSettings

T = TypeVar("T")

PLAIN = [b"application/json"]  # what nearly everybody sends
INLINE_BYTES = 64 * 1024
"""Longer bodies are read in a thread: 4 MiB take half a second, in which the loop has every stream to serve."""


class JsonBodies:
    """Reads bodies under the limits; the long ones one after the other, because threads share one interpreter."""

    def __init__(self, limits: HttpSettings, timers: TimerSettings) -> None:
        self._limits = limits
        self._timers = timers
        self._long = asyncio.Lock()

    async def read(self, scope: Scope, receive: Receive, *, reader: Callable[[dict[str, Any]], T]) -> T:
        """What `reader` makes of the JSON object in the body. It may run in another thread."""
        check_content_type(scope)
        data = await self._arrived(receive)
        if len(data) <= INLINE_BYTES:
            return self._understood(data, reader)
        async with self._long:
            return await asyncio.to_thread(self._understood, data, reader)

    async def _arrived(self, receive: Receive) -> bytes:
        limit_s = self._timers.body_s
        try:
            async with asyncio.timeout(limit_s):
                return await _read(receive, self._limits.max_body_bytes)
        except TimeoutError:
            raise InvalidRequest(
                f"The request body did not arrive within {limit_s:g} seconds.", code="upload_incomplete"
            ) from None

    def _understood(self, data: bytes, reader: Callable[[dict[str, Any]], T]) -> T:
        return reader(parse_object(data, self._limits.max_json_depth))


def check_content_type(scope: Scope) -> None:
    """Exactly one Content-Type, `application/json`, in UTF-8, and no Content-Encoding."""
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    if types != PLAIN and (len(types) != 1 or not _is_json(types[0].decode("latin-1"))):
        raise InvalidRequest("The body must be 'application/json' in UTF-8.", code="unsupported_media_type")
    encodings = [value for name, value in scope["headers"] if name == b"content-encoding"]
    if any(value.strip().lower() != b"identity" for value in encodings):
        raise InvalidRequest("The body must not be compressed.", code="unsupported_media_type")


def _is_json(content_type: str) -> bool:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [part.partition("=")[2].strip(' "') for part in parameters if part.startswith("charset")]
    return media_type == "application/json" and all(charset in ("utf-8", "utf8") for charset in charsets)


async def _read(receive: Receive, limit: int) -> bytes:
    """The whole body; a common one arrives in one message and is not copied."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        length += len(part)
        if length > limit:
            raise too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)

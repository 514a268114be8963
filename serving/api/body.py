"""Reading a request's JSON body: its type, its size while it arrives, and how long it may take.

Owns the bytes. Does not own what they spell (`strict_json`) or mean (the readers).
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive, Scope

from models.errors import InvalidRequest
from serving.api.departure import ClientGone
from serving.api.gate import too_large
from serving.api.strict_json import parse_object
from serving.settings import HttpSettings, TimerSettings


async def read_object(scope: Scope, receive: Receive, *, limits: HttpSettings, timers: TimerSettings) -> dict[str, Any]:
    """The JSON object in the body."""
    check_content_type(scope)
    try:
        async with asyncio.timeout(timers.body_s):
            data = await _read(receive, limits.max_body_bytes)
    except TimeoutError:
        raise InvalidRequest(
            f"The request body did not arrive within {timers.body_s:g} seconds.", code="upload_incomplete"
        ) from None
    return parse_object(data, limits.max_json_depth)


def check_content_type(scope: Scope) -> None:
    """Exactly one Content-Type, `application/json`, in UTF-8, and no Content-Encoding."""
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    if len(types) != 1 or not _is_json(types[0].decode("latin-1")):
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

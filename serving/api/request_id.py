"""The request id: the client's if it is harmless, else ours; exactly one on every response."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"
_HARMLESS = re.compile(rb"[A-Za-z0-9-]{1,64}")

Headers = Iterable[tuple[bytes, bytes]]


def request_id(headers: Headers) -> str:
    """The id that this request goes by."""
    sent = [value for name, value in headers if name == HEADER]
    if len(sent) == 1 and _HARMLESS.fullmatch(sent[0]):
        return sent[0].decode("ascii")
    return uuid.uuid4().hex


def stamped(headers: Headers, identity: str) -> list[tuple[bytes, bytes]]:
    """Response headers with this id and no other."""
    return [*(pair for pair in headers if pair[0].lower() != HEADER), (HEADER, identity.encode("ascii"))]


class OneRequestId:
    """ASGI middleware for servers that stamp an id of their own: they get ours to read, the client gets one header.

    Ray Serve reads `x-request-id` before our application runs and appends it unchecked: this goes around it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        identity = request_id(scope["headers"])
        scope = {**scope, "headers": stamped(scope["headers"], identity)}

        async def send_stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": stamped(message.get("headers", ()), identity)}
            await send(message)

        return await self._app(scope, receive, send_stamped)

"""The ASGI words of a replica's door: its types, a refusal and its answer, a client that waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class Refused(Exception):
    """The door does not do this now, or not at all."""

    def __init__(
        self, code: str, retry_after_s: int | None = None, *, status: int = 503, message: str | None = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after_s = retry_after_s
        self.status = status
        self.message = message or code


class WaitingClient:
    """A client at the door: what it sends while it waits is kept for the engine, and its leaving is noticed.

    `until`: how long it may wait, by the running loop's clock.
    """

    def __init__(self, receive: Receive, *, until: float) -> None:
        self._receive = receive
        self.until = until
        self._kept: deque[Message] = deque()
        self.gone = False

    async def receive(self) -> Message:
        """The ASGI `receive` of the engine: first what was kept."""
        return self._kept.popleft() if self._kept else await self._receive()

    @asynccontextmanager
    async def watched(self, leave: Callable[[], object]) -> AsyncIterator[None]:
        """Call `leave` when the client goes away inside the block. No message is lost at its end."""
        watch = asyncio.ensure_future(self._watch(leave))
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait((watch,))

    async def _watch(self, leave: Callable[[], object]) -> None:
        while not self.gone:
            self._kept.append(await self._receive())
            self.gone = self._kept[-1]["type"] == "http.disconnect"
        leave()


def header(scope: Scope, name: bytes) -> bytes:
    """What a request says under this name, in lower case; nothing where it says nothing."""
    return next((value for sent, value in scope["headers"] if sent == name), b"")


async def refuse(send: Send, refusal: Refused) -> None:
    """Answer with an error object."""
    error = {"message": refusal.message, "type": "penstock_door", "param": None, "code": refusal.code}
    await answer(send, refusal.status, payload={"error": error}, retry_after_s=refusal.retry_after_s)


async def answer(send: Send, status: int, *, payload: Any, retry_after_s: int | None = None) -> None:
    """Answer with JSON."""
    body = orjson.dumps(payload)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

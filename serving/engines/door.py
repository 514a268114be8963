"""The door of an engine replica: token, route allow-list, cap and bounded queue in front of vLLM's own HTTP server.

All gateways share one door per replica, so the cap and the queue are counted where the work is, and in what the engine
works on: a request takes a slot for each of its generations. Owns no generation and no retry; knows nothing of Ray or
vLLM.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

GENERATE = frozenset({("POST", "/v1/chat/completions"), ("POST", "/v1/completions")})
WATCH = frozenset({("GET", "/metrics"), ("GET", "/health")})
GENERATIONS = "x-penstock-generations"  # header of a request: how many generations it is; one where it is missing


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Limits of one replica: generations at work, generations waiting, and the longest wait in seconds."""

    max_running: int
    max_queued: int
    queue_timeout_s: float


class Refused(Exception):
    """The door does not let this request in now."""

    def __init__(self, code: str, retry_after_s: int) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A place in the queue. `turn` is done when its slots are taken for it, cancelled when nobody wants them."""

    slots: int
    turn: asyncio.Future[None]


class WaitingClient:
    """A client at the door: what it sends while it waits is kept for the engine, and its leaving is noticed."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
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


class EngineDoor:
    """An ASGI app around the engine's. Slots are given back when the engine's answer, or its client, is gone."""

    def __init__(self, app: AsgiApp, *, token: str, settings: DoorSettings) -> None:
        self._app = app
        self._token = f"Bearer {token}".encode()
        self._settings = settings
        self._waiting: deque[Place] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self.running = 0
        self.closing = False

    @property
    def queued(self) -> int:
        """Slots that are waited for."""
        return sum(place.slots for place in self._waiting)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request through the door."""
        if scope["type"] != "http":
            return
        if not self._knows(scope):
            await _refuse(send, 401, code="invalid_api_key")
            return
        route = (scope["method"], scope["path"])
        if route in WATCH:
            await self._app(scope, receive, send)
        elif route in GENERATE:
            await self._generate(scope, receive, send)
        else:
            await _refuse(send, 404, code="unknown_url")

    async def drained(self) -> None:
        """Refuse newcomers from now on, and return when the last running request has ended."""
        self.closing = True
        await self._idle.wait()

    def _knows(self, scope: Scope) -> bool:
        return hmac.compare_digest(_header(scope, b"authorization"), self._token)

    async def _generate(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = WaitingClient(receive)
        try:
            async with self._held(self._wanted(scope), client):
                await self._app(scope, client.receive, send)
        except Refused as refusal:
            await _refuse(send, 503, code=refusal.code, retry_after_s=refusal.retry_after_s)

    def _wanted(self, scope: Scope) -> int:
        """Slots for a request: one per generation, and never more than there are, so that the widest gets in too."""
        sent = _header(scope, GENERATIONS.encode())
        return min(max(int(sent) if sent.isdigit() else 1, 1), self._settings.max_running)

    @asynccontextmanager
    async def _held(self, slots: int, client: WaitingClient) -> AsyncIterator[None]:
        if self.closing:
            raise Refused("server_shutting_down", 1)
        if not self._waiting and self._is_free(slots):
            self._take(slots)
        else:
            await self._queue(slots, client)
        try:
            yield
        finally:
            self._give_back(slots)

    async def _queue(self, slots: int, client: WaitingClient) -> None:
        """Wait for slots, which those who leave hand over: arrival order is kept and nobody overtakes.

        Whoever is first waits until enough are free, however many it wants: nobody is starved by smaller requests. A
        client that goes away while it waits gives its place at once; the refusal then reaches nobody.
        """
        if self.queued >= self._settings.max_queued:  # the last one in may go beyond: a wide one could never wait else
            raise Refused("overloaded", 1)
        place = Place(slots, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self._settings.queue_timeout_s), client.watched(place.turn.cancel):
                await place.turn
        except BaseException as error:
            self._give_up(place)
            if isinstance(error, TimeoutError) or (client.gone and not _is_cancelled()):
                raise Refused("overloaded", 2) from None
            raise

    def _is_free(self, slots: int) -> bool:
        return self.running + slots <= self._settings.max_running

    def _take(self, slots: int) -> None:
        self.running += slots
        self._idle.clear()

    def _give_back(self, slots: int) -> None:
        self.running -= slots
        self._admit()
        if self.running == 0:
            self._idle.set()

    def _give_up(self, place: Place) -> None:
        if place.turn.done() and not place.turn.cancelled():
            self._give_back(place.slots)  # they were handed over in the same moment
            return
        with suppress(ValueError):
            self._waiting.remove(place)
        self._admit()  # what was too little for this one may be enough for the next

    def _admit(self) -> None:
        """Let in whoever is first, as long as there is room for it."""
        while self._waiting and (self._waiting[0].turn.done() or self._is_free(self._waiting[0].slots)):
            place = self._waiting.popleft()
            if not place.turn.done():
                self._take(place.slots)
                place.turn.set_result(None)


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for sent, value in scope["headers"] if sent == name), b"")


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _refuse(send: Send, status: int, *, code: str, retry_after_s: int | None = None) -> None:
    body = orjson.dumps({"error": {"message": code, "type": "penstock_door", "param": None, "code": code}})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

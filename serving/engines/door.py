"""The door of an engine replica: token, route allow-list, cap and bounded queue in front of vLLM's own HTTP server.

All gateways share one door per replica, so the cap and the queue are counted where the work is, and in what the engine
works on: a request takes a slot for each of its generations. A call that names an adapter waits for it before it takes
a slot. Owns no generation and no retry; knows nothing of Ray or vLLM.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from models.adapters.names import AdapterRef
from serving.engines.adapter_door import ADAPTERS, AdapterDoor
from serving.engines.asgi import AsgiApp, Receive, Refused, Scope, Send, WaitingClient, header, refuse

GENERATE = frozenset({("POST", "/v1/chat/completions"), ("POST", "/v1/completions")})
WATCH = frozenset({("GET", "/metrics"), ("GET", "/health")})
GENERATIONS = "x-penstock-generations"  # header of a request: how many generations it is; one where it is missing


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Limits of one replica: generations at work, generations waiting, and the longest wait in seconds."""

    max_running: int
    max_queued: int
    queue_timeout_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A place in the queue. `turn` is done when its slots are taken for it, cancelled when nobody wants them."""

    slots: int
    turn: asyncio.Future[None]


class EngineDoor:
    """An ASGI app around the engine's. Slots are given back when the engine's answer, or its client, is gone."""

    def __init__(
        self, app: AsgiApp, *, token: str, settings: DoorSettings, adapters: AdapterDoor | None = None
    ) -> None:
        """`adapters`: None for an engine without."""
        self._app = app
        self._adapters = adapters or AdapterDoor(None)
        self._fetching = 0
        self._token = f"Bearer {token}".encode()
        self._settings = settings
        self._waiting: deque[Place] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self.running = 0
        self.closing = False

    @property
    def queued(self) -> int:
        """Slots that are waited for, or will be as soon as an adapter is loaded."""
        return self._fetching + sum(place.slots for place in self._waiting)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request through the door."""
        if scope["type"] != "http":
            return
        if not self._knows(scope):
            await refuse(send, Refused("invalid_api_key", status=401))
            return
        route = (scope["method"], scope["path"])
        if route in WATCH:
            await self._app(scope, receive, send)
        elif route in GENERATE:
            await self._generate(scope, receive, send)
        elif scope["path"].startswith(ADAPTERS):
            await self._adapters(scope, receive, send)
        else:
            await refuse(send, Refused("unknown_url", status=404))

    async def drained(self) -> None:
        """Refuse newcomers from now on, and return when the last running request has ended."""
        self.closing = True
        await self._adapters.close()
        await self._idle.wait()

    def _knows(self, scope: Scope) -> bool:
        return hmac.compare_digest(header(scope, b"authorization"), self._token)

    async def _generate(self, scope: Scope, receive: Receive, send: Send) -> None:
        until = asyncio.get_running_loop().time() + self._settings.queue_timeout_s
        client, slots = WaitingClient(receive, until=until), self._wanted(scope)
        try:
            async with self._equipped(scope, client, slots=slots), self._held(slots, client):
                await self._app(scope, client.receive, send)
        except Refused as refusal:
            await refuse(send, refusal)

    @asynccontextmanager
    async def _equipped(self, scope: Scope, client: WaitingClient, *, slots: int) -> AsyncIterator[None]:
        """Inside, the adapter that the call names is loaded, and counts it among its calls."""
        ref = self._adapters.named(scope)
        if ref is None:
            yield
            return
        if not self._adapters.ready(ref):
            await self._fetched(ref, client, slots=slots)
        async with self._adapters.held(ref):
            yield

    async def _fetched(self, ref: AdapterRef, client: WaitingClient, *, slots: int) -> None:
        """Wait for a load, in the queue as it were: without a slot, as long as there is room, and not for ever."""
        if self.closing:
            raise Refused("server_shutting_down", 1)
        if self.queued >= self._settings.max_queued and not self._is_free(self._fetching + slots):
            raise Refused("overloaded", 1)
        self._fetching += slots
        load = asyncio.ensure_future(self._adapters.loaded(ref))
        try:
            async with asyncio.timeout_at(client.until), client.watched(load.cancel):
                await load
        except TimeoutError:
            raise Refused("adapter_loading", 2) from None
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            raise Refused("overloaded", 2) from None  # the client has left: nobody reads it
        finally:
            self._fetching -= slots

    def _wanted(self, scope: Scope) -> int:
        """Slots for a request: one per generation, and never more than there are, so that the widest gets in too."""
        sent = header(scope, GENERATIONS.encode())
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
            async with asyncio.timeout_at(client.until), client.watched(place.turn.cancel):
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


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

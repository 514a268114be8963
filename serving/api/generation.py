"""One generation call over HTTP: key, slot, body, pipeline, answer. Chat and completions differ in their reader alone.

Owns the order of these steps and that the client's leaving ends them. Does not own fields, keys or engines.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from models.errors import InvalidRequest, NotFound, PenstockError
from models.types import GenerationRequest, Principal
from serving.api.access import INFERENCE, authorize
from serving.api.body import JsonBodies
from serving.api.call import Call, call_of
from serving.api.departure import departure
from serving.api.deps import ApiDependencies, Models
from serving.api.errors import echo
from serving.api.generation_request import Arrival
from serving.api.patience import hanging_up, patience
from serving.api.sse import EventStream
from serving.engines.answer import Answer
from serving.telemetry.record import timed

# A whole answer of many choices may be 64 MiB; what the client has not read waits here, and not in the socket's buffer.
PIECE_BYTES = 64 * 1024
_SESSION = re.compile(rb"[!-~]{1,256}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

Headers = list[tuple[bytes, bytes]]


class Reader(Protocol):
    """Turns a JSON object into the request that the pipeline takes."""

    def read(self, body: dict[str, Any], arrival: Arrival) -> GenerationRequest:
        """Raises `InvalidRequest` for the first thing wrong."""
        ...


class Generation:
    """An ASGI endpoint. A slot of the key is held from before the body is read until the last byte is sent."""

    def __init__(self, deps: ApiDependencies, reader: Reader, *, bodies: JsonBodies) -> None:
        self._deps = deps
        self._reader = reader
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        deps, call = self._deps, call_of(scope)
        with timed(call.record, "key", clock=deps.clock):
            caller = await authorize(scope, deps.keys, roles=INFERENCE)
        with deps.limiter.hold(caller) as widen:
            arrival = arrival_of(scope, call)
            with timed(call.record, "parse", clock=deps.clock):
                request = await self._bodies.read(scope, receive, reader=lambda body: self._reader.read(body, arrival))
            self._note(request, call)
            check_model(request, caller, models=deps.models)
            widen(request.generations)
            async with departure(receive, call) as present:
                await self._answer(request, caller, call=call, present=present, send=send)

    async def _answer(
        self, request: GenerationRequest, caller: Principal, *, call: Call, present: Callable[[], None], send: Send
    ) -> None:
        if call.record is None:
            raise PenstockError("A generation call has no record.")
        answer = await self._deps.pipeline.answer(request, caller, record=call.record)
        try:
            present()
            with hanging_up(send, call):
                await self._deliver(answer, call=call, send=send)
        finally:
            if answer.stream is not None:
                await answer.stream.aclose()  # frees the engine

    async def _deliver(self, answer: Answer, *, call: Call, send: Send) -> None:
        timers, headers = self._deps.timers, _headers(answer)
        if answer.stream is not None:
            stream = EventStream(answer.stream, send, call=call, timers=timers, clock=self._deps.clock)
            await stream.run(headers)
        else:
            await _send_body(answer.body or b"", headers, send=send, stall_s=timers.write_stall_s)

    def _note(self, request: GenerationRequest, call: Call) -> None:
        if call.record is not None:
            call.record.stream = request.stream
            call.record.feature = request.feature
            call.record.requested_model = echo(request.model)  # not yet looked up: it may be megabytes
            call.record.traceparent = request.traceparent


def check_model(request: GenerationRequest, caller: Principal, *, models: Models) -> None:
    """`auto` is a name like any other: a key with a model list needs it in that list. Raises `NotFound`."""
    if not models.knows(request.model, caller):
        raise NotFound(
            f"The model '{echo(request.model)}' does not exist or is not open to this key.",
            code="model_not_found",
            param="model",
        )


async def _send_body(body: bytes, headers: Headers, *, send: Send, stall_s: float) -> None:
    """Piece by piece, each under the timer of a client that does not read; most answers are one piece."""
    length = (b"content-length", str(len(body)).encode())
    head = [(b"content-type", b"application/json"), length, *headers]
    async with patience(stall_s) as restart:
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for end in range(PIECE_BYTES, max(len(body), 1) + PIECE_BYTES, PIECE_BYTES):
            piece, more = body[end - PIECE_BYTES : end], end < len(body)
            await send({"type": "http.response.body", "body": piece, "more_body": more})
            if not more:
                return
            restart()
            await asyncio.sleep(0)  # a send behind the client's leaving waits for nothing: here it is heard of


def _headers(answer: Answer) -> Headers:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]


def arrival_of(scope: Scope, call: Call) -> Arrival:
    """What the headers tell of a request; raises `InvalidRequest` for a session that is no name."""
    traceparent = session = other = None
    for name, value in scope["headers"]:
        if name == b"traceparent" and _TRACEPARENT.fullmatch(value):
            traceparent = str(value, "ascii")
        elif name == b"x-penstock-session":
            if not _SESSION.fullmatch(value):
                raise InvalidRequest(
                    "x-penstock-session must be 1 to 256 printable ASCII characters without a space.",
                    param="x-penstock-session",
                )
            session = str(value, "ascii")
        elif name == b"x-session-id" and session is None and _SESSION.fullmatch(value):  # others' header: if it fits
            other = str(value, "ascii")
    return Arrival(call.id, call.received, traceparent, session or other)

"""The outermost layer: one id, one answer and at most one record for every request, whatever happens inside.

Owns the order gate → routes → error envelope → record. Does not own routes, nor what a record says of the call itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.clock import Clock
from models.errors import PenstockError
from serving.api.call import Call, attach, call_of
from serving.api.connection import Connection
from serving.api.departure import ClientGone
from serving.api.deps import Records
from serving.api.errors import CODES, known, refusal
from serving.api.gate import Gate
from serving.api.request_id import request_id, stamped
from serving.telemetry.record import CallRecord


class Edge:
    """An ASGI application around the routes. `recorded`: path → kind, the POST requests that get one row each."""

    def __init__(
        self, app: ASGIApp, *, gate: Gate, records: Records, clock: Clock, recorded: Mapping[str, str]
    ) -> None:
        self._app = app
        self._gate = gate
        self._records = records
        self._clock = clock
        self._recorded = dict(recorded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; lifespan events pass through."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        call, now = self._call(scope), self._clock.monotonic
        attach(scope, call)

        def stamp(message: Message) -> Awaitable[None]:  # no coroutine of its own: per-token code
            call.saw(message, now=now)
            if message["type"] == "http.response.start":
                message = {**message, "headers": stamped(message.get("headers", ()), call.id)}
            return send(message)

        try:
            self._gate.check(scope, Connection(send).target)
            await self._app(scope, receive, stamp)
        except (ClientGone, asyncio.CancelledError) as gone:
            # Ray Serve cancels the task of a client that left, and nothing else.
            call.client_left()
            if isinstance(gone, asyncio.CancelledError):
                raise
        except PenstockError as error:
            await self._refuse(error, scope, receive=receive, send=stamp)
        except Exception as error:  # noqa: BLE001 - the last line of defence: logged, and answered in our shape
            structlog.get_logger().exception("request failed", request_id=call.id)
            await self._refuse(
                PenstockError("A request failed.", detail=repr(error)), scope, receive=receive, send=stamp
            )
        finally:
            self._finish(call)

    def _call(self, scope: Scope) -> Call:
        call = Call(id=request_id(scope["headers"]), received=self._clock.monotonic())
        kind = self._recorded.get(scope["path"]) if scope["method"] == "POST" else None
        if kind is not None:
            call.record = CallRecord(id=call.id, started_at=self._clock.now(), kind=kind)
            self._records.begin(call.record)
        return call

    async def _refuse(self, error: PenstockError, scope: Scope, *, receive: Receive, send: Send) -> None:
        call = call_of(scope)
        call.failed(error)
        if CODES[known(error)][0] >= 500:
            structlog.get_logger().error("refused", request_id=call.id, code=error.code, error=str(error))
        if call.responded:
            Connection(send).abort()
        else:
            response = refusal(error, close=self._gate.closes(error, scope))
            if call.record is not None and call.record.adapter_version is not None:  # also a failure is a version's
                response.headers["x-penstock-adapter-version"] = str(call.record.adapter_version)
            await response(scope, receive, send)

    def _finish(self, call: Call) -> None:
        if call.record is not None:
            call.finish(self._clock.monotonic())
            self._records.finish(call.record)

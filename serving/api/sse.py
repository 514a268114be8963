"""Server-sent events: drives an answer's stream to the client, event by event, under two timers.

Owns keep-alive comments, the write-stall timer and the error frame. Does not own what the events say, nor the client's
leaving (`departure`). Bytes pass through as they come: nothing here parses an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable

import structlog
from starlette.types import Send

from models.clock import Clock
from models.errors import PenstockError, UpstreamError
from serving.api.call import Call
from serving.api.connection import Connection
from serving.api.errors import frame
from serving.api.patience import Stalled, patience
from serving.settings import TimerSettings

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
# Neither a fast engine nor a fast client ever makes a send wait: every so many events the others get a turn.
_BREATH = 64
HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class EventStream:
    """One stream on its way to one client. `run` ends with the stream, or raises `Stalled` when nobody reads."""

    def __init__(
        self, events: AsyncGenerator[bytes, None], send: Send, *, call: Call, timers: TimerSettings, clock: Clock
    ) -> None:
        self._events = events
        self._send = send
        self._call = call
        self._timers = timers
        self._now = clock.monotonic
        self._last_sent = self._now()
        self._sending_since: float | None = None
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        self._taken = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._commenting: asyncio.Task[None] | None = None

    async def run(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the whole answer. Whoever owns the stream closes it behind this, however it ends."""
        self._keep_time()
        try:
            async with self._taken:
                await self._pump(headers)
        except TimeoutError:
            if self._taken.expired():
                raise Stalled from None
            raise
        finally:
            self._end_time()

    async def _pump(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        try:
            await self._begin(headers)
            async for event in self._events:
                self._sent += 1
                if self._sent % _BREATH == 0:
                    await asyncio.sleep(0)
                await self._write_event(event)
            if not self._call.complete:
                raise UpstreamError("The stream ended without its end mark.", code="upstream_lost")
        except PenstockError as error:
            await self._break_off(error)
        except Exception:  # noqa: BLE001 - logged, and answered by a frame in our shape
            structlog.get_logger().exception("stream failed", request_id=self._call.id)
            await self._break_off(PenstockError("A stream failed."))

    async def _begin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """The status, and with it the first event, which is there already."""
        start = {"type": "http.response.start", "status": 200, "headers": [*HEADERS, *headers]}
        with Connection(self._send).in_one_write():
            await self._send(start)
            first = await anext(self._events, None)
            if first is not None:
                self._sent = 1
                await self._write_event(first)
                self._note_first_event()

    async def _write_event(self, event: bytes) -> None:
        # The last event ends the answer at once: a client closes behind it, and is not "gone" for that.
        await self._write(event, more=not event.endswith(DONE))

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        self._sending_since = self._now()
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self._last_sent = self._now()
        self._sending_since = None

    async def _break_off(self, error: PenstockError) -> None:
        """One error frame, no `[DONE]`, and the connection closes behind it."""
        if self._call.complete:
            return
        self._call.failed(error)
        structlog.get_logger().error("stream broke off", request_id=self._call.id, code=error.code, error=str(error))
        Connection(self._send).close_after_answer()
        await self._write(frame(error), more=False)

    def _note_first_event(self) -> None:
        record = self._call.record
        if record is not None and record.ttft_ms is None:
            record.ttft_ms = (self._now() - self._call.received) * 1000

    def _keep_time(self) -> None:
        """Comments while the engine is silent; sets off `_taken` when the client has not read for too long.

        A timer that looks at two stamps, and no task and no timer per event.
        """
        now, timers = self._now(), self._timers
        if self._sending_since is None:
            due = self._last_sent + timers.keep_alive_s - now
            if due <= 0:
                self._comment()
                due = timers.keep_alive_s
            left = min(due, timers.write_stall_s)
        else:
            left = self._sending_since + timers.write_stall_s - now
            if left <= 0:
                self._stalled()
                return
        self._timer = self._loop.call_later(left, self._keep_time)

    def _end_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._commenting is not None:
            self._commenting.cancel()

    def _stalled(self) -> None:
        if not self._taken.expired():
            self._taken.reschedule(self._loop.time())

    def _comment(self) -> None:
        """Send a keep-alive, unless the last one still waits to be taken."""
        self._last_sent = self._now()
        if not self._call.complete and (self._commenting is None or self._commenting.done()):
            self._commenting = self._loop.create_task(self._send_comment())

    async def _send_comment(self) -> None:
        if self._call.complete:  # in the turn between
            return
        try:
            async with patience(self._timers.write_stall_s):
                await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
        except Stalled:
            self._stalled()
        except Exception:  # noqa: BLE001 - nobody waits for a comment
            structlog.get_logger().exception("keep-alive failed", request_id=self._call.id)

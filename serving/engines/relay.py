"""The stream of one engine answer on its way to the client: whole events, unchanged bytes, an end that is always told.

Owns the connection, the slot and the attempt's row in the record from the first event on. Does not retry: after the
first byte an attempt is committed. Per-token code.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from models.clock import Clock
from models.types import Attempt, GenerationRequest, Usage
from serving.engines import failures
from serving.engines.endpoints import Slot
from serving.engines.events import EventReader
from serving.engines.failures import Failure
from serving.engines.watchdog import Watchdog
from serving.engines.wire import Reply
from serving.telemetry.record import AttemptTrace, CallRecord

CLIENT_GONE = "client_gone"
TRAILER_S = 0.2


@dataclass(slots=True)
class Call:
    """One attempt as it runs: who is asked for what, and since when (monotonic seconds)."""

    request: GenerationRequest
    attempt: Attempt
    slot: Slot
    record: CallRecord
    clock: Clock
    started: float

    def since(self) -> float:
        """Seconds since the attempt began."""
        return self.clock.monotonic() - self.started

    def ended(self, outcome: str) -> None:
        """Write the attempt's row."""
        endpoint = self.slot.endpoint
        self.record.attempts.append(AttemptTrace(endpoint.card, endpoint.replica, outcome, self.since() * 1000))

    def failed(self, error: Failure) -> None:
        """Write the row, and tell the picker what it says of the replica.

        An engine that raises over an adapter's call says nothing of itself: a bad adapter must not cost the others the
        replica.
        """
        self.ended(error.code)
        if error.fault == "leaving":
            self.slot.suspect()
        elif error.fault == "replica" and not (self.attempt.adapter is not None and error.code == "engine_error"):
            self.slot.failed(error.code)

    def count(self, usage: Usage | None, chunks: int) -> None:
        """Tokens into the record: the engine's own count, or the chunks seen when the engine never came to count."""
        record = self.record
        if usage is None:
            record.tokens_estimated = True
            record.completion_tokens = chunks
        else:
            record.prompt_tokens = usage.prompt_tokens
            record.completion_tokens = usage.completion_tokens
            record.cached_tokens = usage.cached_tokens


class Relay(AsyncGenerator[bytes, None]):
    """Iterate it once; `aclose()` or a cancelled read frees the engine at once.

    A class and no generator function, because closing a generator that was never started runs none of its `finally`.
    """

    def __init__(self, call: Call, content: Reply, *, reader: EventReader, held: ExitStack) -> None:
        """`held` closes the connection and gives the slot back; the relay owns it from `begin` on."""
        self._call = call
        self._content = content
        self._reader = reader
        self._held = held
        self._first = b""
        self._ended = False
        self._watch: Watchdog | None = None
        self._now = asyncio.get_running_loop().time

    async def begin(self) -> None:
        """Wait for the first event that goes to the client. Raises what stands in its way; no timer here."""
        while not self._first:
            data = await self._content.readany()
            if data:
                self._first = self._reader.feed(data)
            else:
                self._reader.end()
            if self._reader.failure is not None:
                raise self._reader.failure
        self._note_first_token()

    def commit(self, *, silence_s: float, total_s: float) -> None:
        """From now on the stream lives on its own timers, counted from now."""
        self._watch = Watchdog(self._content, silence_s=silence_s, total_s=total_s)

    async def __anext__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._ended:
            raise StopAsyncIteration
        try:
            return await self._next()
        except StopAsyncIteration:
            self._end("ok")
            raise
        except Failure as error:
            self._fail(error)
            raise
        except OSError as error:
            raise self._fail(failures.lost(f"{type(error).__name__}: {error}")) from error
        except BaseException:
            self._end(CLIENT_GONE)
            raise

    async def asend(self, value: None) -> bytes:  # noqa: ARG002
        """As `__anext__`."""
        return await self.__anext__()

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None, /) -> bytes:  # noqa: ARG002
        """End the stream and raise."""
        await self.aclose()
        raise typ if val is None else val

    async def aclose(self) -> None:
        """Free the engine now. After [DONE] nothing is left to free but the connection."""
        self._first = b""
        self._end("ok" if self._reader.done else CLIENT_GONE)

    def __del__(self) -> None:
        """The last net: an answer dropped between two tasks (a cancellation in that moment) still frees the engine."""
        if self._watch is not None:
            self._end(CLIENT_GONE)

    async def _next(self) -> bytes:
        reader, content, watch = self._reader, self._content, self._watch
        assert watch is not None, "commit() comes before iteration"
        watch.waiting_since = self._now()
        while reader.failure is None and not reader.done:
            data = await content.readany()
            if not data:
                reader.end()
            elif whole := reader.feed(data):
                watch.waiting_since = None
                if self._call.record.ttft_ms is None:
                    self._note_first_token()
                return whole
        if reader.failure is not None:
            raise reader.failure
        await self._read_trailer()
        raise StopAsyncIteration

    async def _read_trailer(self) -> None:
        """Past [DONE] only the end of the body is left: read it, so that the connection goes back to the pool."""
        with suppress(OSError):  # a TimeoutError is one
            if not self._content.at_eof():
                async with asyncio.timeout(TRAILER_S):
                    await self._content.readany()

    def _note_first_token(self) -> None:
        if self._reader.chunks:
            request, clock = self._call.request, self._call.clock
            self._call.record.ttft_ms = (clock.monotonic() - request.received) * 1000

    def _fail(self, error: Failure) -> Failure:
        if not self._ended:
            self._call.failed(error)
            self._close()
        return error

    def _end(self, outcome: str) -> None:
        if self._ended:
            return
        self._call.ended(outcome)
        if outcome == "ok":
            self._call.slot.succeeded()
        self._close()

    def _close(self) -> None:
        self._ended = True
        if self._watch is not None:
            self._watch.stop()
        self._held.close()
        reader, record = self._reader, self._call.record
        self._call.count(reader.usage, reader.chunks)
        record.finish_reason = reader.finish_reason
        record.answer_text = reader.text

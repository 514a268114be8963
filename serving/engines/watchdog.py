"""One timer per stream that breaks a read which waits too long: two stores per event, no timer made per event."""

from __future__ import annotations

import asyncio

from serving.engines import failures
from serving.engines.wire import Reply

TURNS_TO_READ = 3
"""Turns of the loop until a reader knows what came while the loop stood still: to the poll, past it, the reader's."""


class Watchdog:
    """Set `waiting_since` (loop time) before a read, None after it: a client that reads slowly is no engine stall."""

    __slots__ = ("_content", "_loop", "_silence_s", "_timer", "_total_s", "_until", "waiting_since")

    def __init__(self, content: Reply, *, silence_s: float, total_s: float) -> None:
        self._content = content
        self._loop = asyncio.get_running_loop()
        self._silence_s = silence_s
        self._total_s = total_s
        self._until = self._loop.time() + total_s
        self.waiting_since: float | None = None
        self._timer: asyncio.Handle = self._loop.call_later(min(silence_s, total_s), self._check)

    def stop(self) -> None:
        """No more checks."""
        self._timer.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        since = now if self.waiting_since is None else self.waiting_since
        if now >= self._until:
            self._content.set_exception(failures.out_of_time(self._total_s))
        elif now - since >= self._silence_s:
            self._look(since, TURNS_TO_READ)
        else:
            self._timer = self._loop.call_at(min(since + self._silence_s, self._until), self._check)

    def _look(self, since: float, turns: int) -> None:
        """The engine is silent if the same read still waits after these turns: a late timer runs before the sockets."""
        if self.waiting_since != since:
            self._check()
        elif turns:
            self._timer = self._loop.call_soon(self._look, since, turns - 1)
        else:
            self._content.set_exception(failures.stalled(self._silence_s))

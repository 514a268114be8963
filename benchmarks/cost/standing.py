"""A loop whose time can stand still: what runs by the clock then rests, and what a request does can be counted alone.

A gateway writes records, rereads keys and says that it lives by timers; how often they come due during a count depends
on how long the count takes, that is on the machine. CPU time is measured with time running.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

WALL = 1_790_000_000.0


class StandingLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, every call of it in Python and so to be counted."""

    _stood: float | None = None
    _lost_s = 0.0

    def time(self) -> float:
        """Monotonic seconds, less those for which time stood still."""
        return time.monotonic() - self._lost_s if self._stood is None else self._stood

    @contextmanager
    def standing(self) -> Iterator[None]:
        """No timer comes due inside."""
        since = time.monotonic()
        self._stood = self.time()
        try:
            yield
        finally:
            self._lost_s += time.monotonic() - since
            self._stood = None


class StandingClock:
    """The clock of a gateway in such a loop. Wall time never moves, so what is printed of it has one width."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        """Always the same second."""
        return WALL

    def monotonic(self) -> float:
        """The loop's time."""
        return self._loop.time()

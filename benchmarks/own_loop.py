"""A measurement's event loop: begun, run and closed for one piece of work, and ended by Ctrl-C without harm."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def in_own_loop(
    work: Coroutine[Any, Any, T], *, loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
) -> T:
    """Run `work` in a loop of its own, in the main thread, and return what it returns.

    Ctrl-C, and what else raises `KeyboardInterrupt`, cancels the work; it is raised once the loop is closed. Raised
    where it strikes, it would leave a loop that is just being opened or closed in pieces, which then raises something
    else. A second Ctrl-C is raised where it strikes, for work that does not end.
    """
    with _held() as interruption, asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(interruption.over(work))


class _Interruption:
    """What the signals do for as long as there is a loop."""

    def __init__(self) -> None:
        self.asked = False
        self._task: asyncio.Task[Any] | None = None

    async def over(self, work: Coroutine[Any, Any, T]) -> T:
        """The work, as a task that can be cancelled."""
        self._task = asyncio.current_task()
        if self.asked:
            self._cancel()
        return await work

    def __call__(self, number: int, _: object) -> None:
        if self.asked and number == signal.SIGINT:  # a closed terminal is told twice, by kernel and shell
            raise KeyboardInterrupt
        self.asked = True
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._task.get_loop().call_soon_threadsafe(lambda: None)  # wakes a loop that waits for its sockets


@contextmanager
def _held() -> Iterator[_Interruption]:
    """Take the signals that would raise `KeyboardInterrupt`, and raise it at the end if one came."""
    interruption = _Interruption()
    taken = [number for number in ENDING if signal.getsignal(number) is signal.default_int_handler]
    for number in taken:
        signal.signal(number, interruption)
    try:
        yield interruption
    except asyncio.CancelledError:
        if not interruption.asked:
            raise
    finally:
        for number in taken:
            signal.signal(number, signal.default_int_handler)
    if interruption.asked:
        raise KeyboardInterrupt

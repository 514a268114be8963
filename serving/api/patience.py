"""A client that stops reading: how long a send may wait for it, and how the connection ends then.

Owns that one timer. Does not own what is sent, nor the client that leaves by itself (`departure`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.types import Send

from serving.api.call import Call
from serving.api.connection import Connection
from serving.api.departure import ClientGone


class Stalled(ClientGone):
    """The client is there and has read nothing for too long."""


@asynccontextmanager
async def patience(stall_s: float) -> AsyncIterator[Callable[[], None]]:
    """What is sent inside is taken within `stall_s`, or `Stalled` is raised; the call begins the time anew."""
    now = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(stall_s) as timer:
            yield lambda: timer.reschedule(now() + stall_s)
    except TimeoutError:
        raise Stalled from None


@contextmanager
def hanging_up(send: Send, call: Call) -> Iterator[None]:
    """A client that stalls loses its connection, with all that waits in it, once nothing is sent any more."""
    try:
        yield
    except Stalled:
        call.answered = None  # also when it was the last part that waited
        Connection(send).abort()
        raise

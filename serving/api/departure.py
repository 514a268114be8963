"""The client leaving, as the end of whatever is done for it.

A client that half-closes its side counts as gone: uvicorn closes the connection at its end of file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from starlette.types import Receive

from serving.api.call import Call


class ClientGone(Exception):
    """The client left before its answer was complete; nobody reads what would be said."""


@asynccontextmanager
async def departure(receive: Receive, call: Call) -> AsyncIterator[Callable[[], None]]:
    """The block is cancelled when the client leaves before the answer is complete, and ends in `ClientGone`.

    What it yields raises `ClientGone` too, for work that came to an end all the same. The body must have been read. The
    work stays in the caller's task: a timer without a time, which the leaving sets off, has the standard library's
    rules for whose cancellation it was.
    """
    now = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(None) as stay:
            watch = asyncio.create_task(_until_gone(receive, call, leave=lambda: stay.reschedule(now())))
            try:
                yield lambda: _present(stay)
            finally:
                watch.cancel()
    except TimeoutError:
        if stay.expired():
            raise ClientGone from None
        raise


def _present(stay: asyncio.Timeout) -> None:
    if stay.expired():
        raise ClientGone


async def _until_gone(receive: Receive, call: Call, *, leave: Callable[[], None]) -> None:
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except Exception:  # noqa: BLE001 - a client that cannot be heard is as good as gone
        structlog.get_logger().exception("a client cannot be heard", request_id=call.id)
    if not call.complete:  # a server says "disconnect" behind a whole answer too
        leave()

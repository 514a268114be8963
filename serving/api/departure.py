"""The client leaving, as something to race work against.

A client that half-closes its side counts as gone: uvicorn closes the connection at its end of file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.types import Receive

from serving.api.call import Call

T = TypeVar("T")


class ClientGone(Exception):
    """The client left before its answer was complete; nobody reads what would be said."""


@asynccontextmanager
async def departure(receive: Receive, call: Call) -> AsyncIterator[asyncio.Task[None]]:
    """A task that ends when the client leaves before the answer is complete; the body must have been read."""
    task = asyncio.create_task(_until_gone(receive, call))
    try:
        yield task
    finally:
        await _stop(task)


async def race(work: Coroutine[Any, Any, T], gone: asyncio.Task[None]) -> T:
    """The work's result, or `ClientGone` once the work has been cancelled and has ended."""
    if gone.done():
        work.close()
        raise ClientGone
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _stop(task)
    if task.cancelled():
        raise ClientGone
    return task.result()


async def _stop(task: asyncio.Task[Any]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task})


async def _until_gone(receive: Receive, call: Call) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    if call.complete:  # a server says "disconnect" behind a whole answer too
        await asyncio.Event().wait()

"""An ASGI app on a port of its own in a thread, for tests whose own code blocks: command lines, measuring clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from serving.testing import AsgiApp, serve

START_LIMIT_S = END_LIMIT_S = 30


@contextmanager
def in_thread(app: AsgiApp) -> Iterator[str]:
    """The app's base URL while the block is open."""
    started, stopping = threading.Event(), threading.Event()
    url = ""

    async def live() -> None:
        nonlocal url
        async with serve(app) as url:
            started.set()
            await asyncio.to_thread(stopping.wait)

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    try:
        assert started.wait(START_LIMIT_S)
        yield url
    finally:
        stopping.set()
        thread.join(END_LIMIT_S)

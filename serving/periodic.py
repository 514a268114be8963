"""Work that a process does again and again in the background, for as long as a block is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from models.errors import PenstockError


async def ticks(every_s: float) -> AsyncIterator[None]:
    """At once, and then again and again: for a loop that asks until it hears what it waits for."""
    while True:
        yield
        await asyncio.sleep(every_s)


class Periodic:
    """`async with Periodic(work, every_s=…)`: the first round at once, and the next one also after a failure."""

    def __init__(self, work: Callable[[], Awaitable[object]], *, every_s: float) -> None:
        self._work = work
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._rounds())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _rounds(self) -> None:
        while True:
            try:
                await self._work()
            except (PenstockError, OSError) as error:
                self._log.warning("round_failed", work=getattr(self._work, "__qualname__", "?"), error=str(error))
            except Exception:  # noqa: BLE001 - a loop that ends without a word is missed by nobody until it is needed
                self._log.exception("round_failed", work=getattr(self._work, "__qualname__", "?"))
            await asyncio.sleep(self._every_s)

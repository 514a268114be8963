"""Micro-batching: while one batch is at work in the worker thread, the next one gathers; nobody waits for company.

Owns the queue and the thread. Knows nothing of prompts: `work` turns a list of things into a list of answers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")


class Full(Exception):
    """So many wait already that another one would not be served in time."""


class Late(Exception):
    """The time of this one ran out before its turn came."""


@dataclass(frozen=True, slots=True, eq=False)
class Waiting(Generic[T, R]):
    """One thing and its answer to come; `until` in the loop's time."""

    item: T
    until: float
    answer: asyncio.Future[R]


class Batches(Generic[T, R]):
    """`async with Batches(work, most=16, queue=256) as batches`; leaving the block ends the thread.

    `work` blocks, runs in one thread, and gets at most `most` things; it must give as many answers, in order.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], *, most: int, queue: int) -> None:
        self._work = work
        self._most = most
        self._limit = queue
        self._waiting: deque[Waiting[T, R]] = deque()
        self._at_work: list[Waiting[T, R]] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="classifier")
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._runner = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            self._runner.cancel()
            with suppress(asyncio.CancelledError):
                await self._runner
        self._thread.shutdown(wait=False, cancel_futures=True)
        for waiting in (*self._at_work, *self._waiting):
            waiting.answer.cancel()

    async def submit(self, item: T, *, within_s: float) -> R:
        """The answer for this one; raises `Full`, `Late`, or what the work raised for its batch."""
        if len(self._waiting) >= self._limit:
            raise Full(f"{len(self._waiting)} prompts wait already")
        loop = asyncio.get_running_loop()
        waiting: Waiting[T, R] = Waiting(item, loop.time() + within_s, loop.create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.answer

    async def apart(self, work: Callable[[], S]) -> S:
        """Something else for the thread, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._at_work = self._next(loop.time())
            if not batch:
                self._arrived.clear()
                continue
            items = [waiting.item for waiting in batch]
            working = loop.run_in_executor(self._thread, self._work, items)
            await asyncio.wait({working})
            if (error := working.exception()) is not None:  # of this batch; the next one is another matter
                for waiting in batch:
                    _settle(waiting.answer, error=error)
                continue
            for waiting, answer in zip(batch, working.result(), strict=True):
                _settle(waiting.answer, value=answer)

    def _next(self, now: float) -> list[Waiting[T, R]]:
        """Who is next: those whose caller is still there and has time."""
        batch: list[Waiting[T, R]] = []
        while self._waiting and len(batch) < self._most:
            waiting = self._waiting.popleft()
            if waiting.until <= now:
                _settle(waiting.answer, error=Late("its turn came too late"))
            elif not waiting.answer.done():
                batch.append(waiting)
        return batch


def _settle(answer: asyncio.Future[R], *, value: R | None = None, error: BaseException | None = None) -> None:
    """Tell the caller, unless it has gone."""
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(value)  # type: ignore[arg-type]

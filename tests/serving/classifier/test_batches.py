"""Micro-batching: who is answered together, and who is not answered at all."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from serving.classifier.batches import Batches, Full, Late


class Work:
    """Doubles numbers in the worker thread, once it is allowed to; keeps each batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.begun = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.begun.set()
        assert self.go.wait(10)
        if -1 in items:
            raise ValueError("minus one")
        return [2 * item for item in items]


async def begun(work: Work) -> None:
    await asyncio.to_thread(work.begun.wait, 10)


async def test_one_alone_waits_for_nobody() -> None:
    work = Work()
    work.go.set()
    async with Batches(work, most=8, queue=8) as batches:
        assert await batches.submit(21, within_s=5) == 42
    assert work.batches == [[21]]


async def test_what_comes_while_a_batch_is_at_work_is_the_next_batch_and_no_larger_than_allowed() -> None:
    work = Work()
    async with Batches(work, most=3, queue=8) as batches:
        first = asyncio.create_task(batches.submit(1, within_s=5))
        await begun(work)
        rest = [asyncio.create_task(batches.submit(number, within_s=5)) for number in (2, 3, 4, 5)]
        await asyncio.sleep(0)
        work.go.set()
        assert await asyncio.gather(first, *rest) == [2, 4, 6, 8, 10]
    assert work.batches == [[1], [2, 3, 4], [5]]


async def test_who_is_too_late_or_gone_is_not_worked_for() -> None:
    work = Work()
    async with Batches(work, most=8, queue=8) as batches:
        first = asyncio.create_task(batches.submit(1, within_s=5))
        await begun(work)
        late = asyncio.create_task(batches.submit(2, within_s=0.0))
        gone = asyncio.create_task(batches.submit(3, within_s=5))
        kept = asyncio.create_task(batches.submit(4, within_s=5))
        await asyncio.sleep(0)
        gone.cancel()
        work.go.set()
        with pytest.raises(Late):
            await late
        assert await asyncio.gather(first, kept) == [2, 8]
    assert work.batches == [[1], [4]]


async def test_a_full_queue_refuses_at_once() -> None:
    work = Work()
    async with Batches(work, most=1, queue=2) as batches:
        tasks = [asyncio.create_task(batches.submit(0, within_s=5))]
        await begun(work)
        tasks += [asyncio.create_task(batches.submit(number, within_s=5)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await batches.submit(3, within_s=5)
        work.go.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4]


async def test_an_error_is_that_of_its_batch_alone() -> None:
    work = Work()
    work.go.set()
    async with Batches(work, most=1, queue=8) as batches:
        broken, whole = await asyncio.gather(
            batches.submit(-1, within_s=5), batches.submit(1, within_s=5), return_exceptions=True
        )
    assert isinstance(broken, ValueError)
    assert whole == 2


async def test_the_end_of_the_block_leaves_nobody_waiting() -> None:
    work = Work()
    async with Batches(work, most=1, queue=8) as batches:
        first = asyncio.create_task(batches.submit(1, within_s=5))
        await begun(work)
        second = asyncio.create_task(batches.submit(2, within_s=5))
        await asyncio.sleep(0)
        work.go.set()
    done, waiting = await asyncio.wait({first, second}, timeout=5)
    assert not waiting
    assert second in done

"""The client's leaving ends a block as `ClientGone`, and nothing else is taken for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serving.api.call import Call
from serving.api.departure import ClientGone, departure


class Client:
    """An ASGI `receive` whose client leaves when told."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        """Nothing until the client has left."""
        await self.left.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
def call() -> Call:
    """A call without a record."""
    return Call(id="one", received=0.0)


async def test_leaving_cancels_the_block(call: Call) -> None:
    client, cancelled = Client(), False
    asyncio.get_running_loop().call_later(0.02, client.left.set)

    async def work() -> None:
        nonlocal cancelled
        async with departure(client.receive, call):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled = True
                raise

    with pytest.raises(ClientGone):
        await work()
    assert cancelled
    await asyncio.sleep(0.01)  # nothing of it reaches what comes later in this task


async def test_leaving_behind_a_whole_answer_ends_nothing(call: Call) -> None:
    client = Client()
    call.answered = 1.0
    client.left.set()
    async with departure(client.receive, call):
        await asyncio.sleep(0.02)


async def test_an_end_of_its_own_stays_what_it_is(call: Call) -> None:
    client = Client()
    async with departure(client.receive, call):
        pass
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for error in (TimeoutError, ZeroDivisionError):
        with pytest.raises(error):
            async with departure(Client().receive, call):
                raise error


async def test_a_client_that_cannot_be_heard_counts_as_gone(call: Call) -> None:
    async def broken() -> dict[str, Any]:
        raise RuntimeError("the proxy is gone")

    async def work() -> None:
        async with departure(broken, call):
            await asyncio.sleep(60)

    with pytest.raises(ClientGone):
        await asyncio.wait_for(work(), 1)


async def test_a_cancellation_from_outside_is_no_leaving_of_the_client(call: Call) -> None:
    client = Client()

    async def work() -> None:
        async with departure(client.receive, call):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timer_inside_that_runs_out_as_the_client_leaves_says_that_it_left(call: Call) -> None:
    client = Client()

    async def work() -> None:
        async with departure(client.receive, call), asyncio.timeout(60) as timer:
            loop = asyncio.get_running_loop()
            loop.call_soon(client.left.set)
            loop.call_later(0.01, timer.reschedule, loop.time())
            await asyncio.to_thread(lambda: None)
            await asyncio.sleep(60)

    with pytest.raises(ClientGone):
        await work()

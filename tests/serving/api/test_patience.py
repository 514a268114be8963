"""A client that stops reading, where nothing but a comment waits for it, and the timer that ends it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from serving.api.call import Call
from serving.api.departure import ClientGone
from serving.api.patience import Stalled, hanging_up, patience
from serving.settings import TimerSettings
from serving.telemetry.record import CallRecord
from tests.serving.api.fakes import CHAT, Stack
from tests.serving.api.test_streams import held
from tests.serving.api.wire import post, until


async def test_a_client_that_takes_no_comment_is_closed_while_the_engine_is_silent() -> None:
    stack = Stack(timers=TimerSettings(write_stall_s=0.3, keep_alive_s=0.1))

    async def loud_then_silent() -> AsyncGenerator[bytes, None]:
        yield b"data: " + b"x" * 2**24 + b"\n\n"
        await asyncio.sleep(60)

    stack.pipeline.streams(loud_then_silent)
    async with stack.served() as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(post(CHAT | {"stream": True}))
            await until(lambda: stack.records.rows, 5)
            await until(lambda: held(port) == 0, 1)
    assert [(row.status, row.client_gone) for row in stack.records.rows] == [(499, True)]
    assert stack.pipeline.closed == 1


async def test_patience_ends_after_its_time_and_begins_anew_on_demand() -> None:
    async def wait() -> None:
        async with patience(0.1) as restart:
            await asyncio.sleep(0.06)
            restart()
            await asyncio.sleep(60)

    started = asyncio.get_running_loop().time()
    with pytest.raises(Stalled):
        await wait()
    assert 0.15 <= asyncio.get_running_loop().time() - started < 5
    assert issubclass(Stalled, ClientGone)


def test_the_time_of_a_client_that_takes_no_last_part_lasts_until_it_is_given_up() -> None:
    async def send(_: Message) -> None:
        """Nobody is there."""

    call = Call("one", 1.0, CallRecord("one", 0.0, "chat"))
    call.saw({"type": "http.response.body", "body": b"last"}, now=lambda: 2.0)
    assert call.complete
    with pytest.raises(Stalled), hanging_up(send, call):
        raise Stalled
    call.client_left()
    call.finish(31.0)
    assert call.record is not None
    assert (call.record.status, call.record.client_gone, call.record.latency_ms) == (499, True, 30_000.0)


async def test_what_is_taken_in_time_passes_and_other_errors_stay_what_they_are() -> None:
    async with patience(60):
        await asyncio.sleep(0)
    with pytest.raises(ZeroDivisionError):
        async with patience(60):
            raise ZeroDivisionError

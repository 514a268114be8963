"""Rows S: whole answers to clients that read, leave, or read nothing, against a real server."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable

import pytest
import uvloop

from models.types import GenerationRequest
from serving.api.generation import PIECE_BYTES
from serving.engines.answer import Answer
from serving.settings import TimerSettings
from tests.serving.api.fakes import CHAT, Stack
from tests.serving.api.test_streams import held
from tests.serving.api.wire import post, until, wire

LONG = 64 * 2**20


def answering(stack: Stack, length: int) -> Stack:
    """The stack answers with so many bytes from now on."""

    async def script(request: GenerationRequest) -> Answer:
        return Answer(body=b"x" * length)

    stack.pipeline.script = script
    return stack


@pytest.mark.parametrize("length", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
async def test_an_answer_of_any_length_arrives_whole(stack: Stack, length: int) -> None:
    async with answering(stack, length).served() as port, wire(port) as client:
        for _ in range(2):
            await client.send(post(CHAT))
            status, headers, body = await client.answer()
            assert (status, headers["content-length"], body) == (200, str(length), b"x" * length)
    assert [(row.status, row.client_gone) for row in stack.records.rows] == [(200, False)] * 2


async def test_a_small_answer_is_sent_at_once_and_a_long_one_in_pieces(stack: Stack) -> None:
    for length, expected in ((PIECE_BYTES, [PIECE_BYTES]), (PIECE_BYTES + 9, [PIECE_BYTES, 9])):
        sent: list[int] = []

        async def send(message: dict[str, object], into: list[int] = sent) -> None:
            if isinstance(body := message.get("body"), bytes):
                into.append(len(body))

        await call(answering(stack, length), send)
        assert sent == expected


async def call(stack: Stack, send: Callable[..., object]) -> None:
    """One chat call without a socket."""
    body = json.dumps(CHAT).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> object:
        return messages.pop() if messages else await asyncio.Event().wait()

    headers = [(b"host", b"a"), (b"authorization", b"Bearer good"), (b"content-type", b"application/json")]
    path = "/v1/chat/completions"
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    await stack.app()({**scope, "root_path": "", "headers": headers}, receive, send)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_client_that_reads_nothing_of_a_whole_answer_is_closed(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    stack = answering(Stack(timers=TimerSettings(write_stall_s=0.3)), LONG)

    async def ask() -> None:
        async with stack.served() as port:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(post(CHAT))
                await until(lambda: stack.records.rows)
                await until(lambda: held(port) == 0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(ask())
    row = stack.records.rows[0]
    assert (row.status, row.client_gone, row.error_code) == (499, True, None)
    assert 300 <= (row.latency_ms or 0) < 3000
    assert stack.limiter.running("key_good") == 0


async def test_an_answer_whose_last_part_alone_is_not_read_counts_as_unread(stack: Stack) -> None:
    stack.timers = TimerSettings(write_stall_s=0.1)

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.body" and not message["more_body"]:
            await asyncio.Event().wait()

    await call(answering(stack, PIECE_BYTES + 9), send)
    assert [(row.status, row.client_gone) for row in stack.records.rows] == [(499, True)]


async def test_a_client_that_leaves_within_a_whole_answer_is_recorded_as_gone(stack: Stack) -> None:
    async with answering(stack, LONG).served() as port:
        async with wire(port) as client:
            await client.send(post(CHAT))
            await client.reader.readexactly(2**16)
        await until(lambda: stack.records.rows)
    assert (stack.records.rows[0].status, stack.records.rows[0].client_gone) == (499, True)


async def test_a_slow_reader_of_a_whole_answer_that_goes_on_reading_gets_all_of_it() -> None:
    stack, received = answering(Stack(timers=TimerSettings(write_stall_s=2.0)), LONG // 4), 0
    async with stack.served(narrow=True) as port, wire(port, narrow=True) as client:
        await client.send(post(CHAT, headers="Connection: close\r\n"))
        while data := await client.reader.read(2**16):
            received += len(data)
            await asyncio.sleep(0.01)
    assert received > LONG // 4
    assert stack.records.rows[0].status == 200
    assert (stack.records.rows[0].latency_ms or 0) > 2000, "longer than a client may read nothing"


async def test_a_client_that_sends_on_and_reads_nothing_is_closed_however_small_the_answers() -> None:
    stack = answering(Stack(timers=TimerSettings(write_stall_s=0.3)), PIECE_BYTES)
    async with stack.served() as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            client.send(post(CHAT) * 200)
            await until(lambda: any(row.client_gone for row in stack.records.rows))
            await until(lambda: held(port) == 0)
    assert stack.records.rows[-1].status == 499
    assert stack.limiter.running("key_good") == 0

"""Rows S and R7–R8: streams to clients that read, leave, or stop reading, against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator, Callable
from typing import cast

import psutil
import pytest
import uvloop

from models.errors import RateLimited, Unavailable, UpstreamError
from models.types import GenerationRequest
from serving.engines.answer import Answer
from serving.settings import TimerSettings
from tests.serving.api.fakes import CHAT, DONE, Stack, error_in, event
from tests.serving.api.wire import post, statuses, until, wire

STREAM = CHAT | {"stream": True}


async def endless() -> AsyncGenerator[bytes, None]:
    while True:
        yield event()
        await asyncio.sleep(0.01)


async def read_stream(stack: Stack) -> bytes:
    async with stack.served() as port, wire(port) as client:
        await client.send(post(STREAM, headers="Connection: close\r\n"))
        return await client.until_closed()


async def test_a_stream_carries_its_headers_events_and_end_mark(stack: Stack) -> None:
    received = await read_stream(stack)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-type: text/event-stream; charset=utf-8" in head
    assert b"cache-control: no-cache" in head
    assert b"x-accel-buffering: no" in head
    assert body.count(b"data: ") == 2
    assert body.endswith(DONE + b"\r\n0\r\n\r\n")
    row = stack.records.rows[0]
    assert (row.status, row.error_code, row.client_gone, row.stream) == (200, None, False, True)
    assert 0 < (row.ttft_ms or 0) <= (row.latency_ms or 0)


async def test_a_connection_serves_the_next_request_after_a_stream(stack: Stack) -> None:
    async with stack.served() as port, wire(port) as client:
        await client.send(post(STREAM))
        await client.reader.readuntil(b"\r\n0\r\n\r\n")
        await client.send(post(CHAT))
        assert (await client.answer())[0] == 200
    assert [row.status for row in stack.records.rows] == [200, 200]
    assert not any(row.client_gone for row in stack.records.rows)


async def test_what_an_engine_does_behind_its_last_event_is_not_cut_short_and_no_latency(stack: Stack) -> None:
    async def settling() -> AsyncGenerator[bytes, None]:
        yield DONE
        told.append(time.monotonic())
        await asyncio.sleep(0.05)
        told.append(time.monotonic())

    told = [time.monotonic()]
    stack.pipeline.streams(settling)
    await read_stream(stack)
    await until(lambda: stack.records.rows)
    begun, answered, _ = told
    assert not stack.records.rows[0].client_gone
    assert 0 < (stack.records.rows[0].latency_ms or 0) <= 1000 * (answered - begun)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamError("secret text", code="upstream_lost"), "upstream_lost"),
        (UpstreamError("secret text", code="upstream_stalled"), "upstream_stalled"),
        (RuntimeError("secret text"), "internal_error"),
        (None, "upstream_lost"),
    ],
)
async def test_s3_a_stream_that_fails_ends_in_one_frame_without_done(
    stack: Stack, error: Exception | None, code: str
) -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        yield event()
        if error is not None:
            raise error

    stack.pipeline.streams(failing)
    async with stack.served() as port, wire(port) as client:
        await client.send(post(STREAM))
        received = await client.until_closed()
    frame = received.split(b"data: ")[-1].split(b"\n\n")[0]
    assert error_in(frame, 500)["code"] == code
    assert b"[DONE]" not in received
    assert b"secret" not in received
    assert received.endswith(b"\r\n0\r\n\r\n")
    assert [(row.status, row.error_code) for row in stack.records.rows] == [(200, code)]


REFUSALS = {
    "S1": (UpstreamError("x", code="engine_error"), 500, None),
    "bad-response": (UpstreamError("x", code="upstream_bad_response"), 502, None),
    "timeout": (UpstreamError("x", code="upstream_timeout"), 504, None),
    "no-capacity": (Unavailable("x", retry_after_s=500), 503, "120"),
    "overloaded": (Unavailable("x", code="overloaded", retry_after_s=0.2), 503, "1"),
    "limit": (RateLimited("x", retry_after_s=7.2), 429, "8"),
    "bug": (ZeroDivisionError("secret"), 500, None),
}


@pytest.mark.parametrize("row", REFUSALS)
async def test_s1_a_failure_before_the_first_event_is_a_status(stack: Stack, row: str) -> None:
    error, status, retry_after = REFUSALS[row]

    async def fail(request: GenerationRequest) -> Answer:
        raise error

    stack.pipeline.script = fail
    async with stack.served() as port, wire(port) as client:
        await client.send(post(STREAM))
        answered, headers, body = await client.answer()
    assert (answered, headers.get("retry-after")) == (status, retry_after)
    code = getattr(error, "code", "internal_error")
    assert error_in(body, status)["code"] == code
    assert b"secret" not in body
    assert [(record.status, record.error_code) for record in stack.records.rows] == [(status, code)]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_s7_a_client_that_stops_reading_is_closed_for_good(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    stack = Stack(timers=TimerSettings(write_stall_s=0.3))
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(stop_reading(stack))
    row = stack.records.rows[0]
    assert (row.status, row.client_gone) == (499, True)
    assert 300 <= (row.latency_ms or 0) < 2000
    assert stack.pipeline.closed == 1
    assert stack.limiter.running("key_good") == 0


async def stop_reading(stack: Stack) -> None:
    """Ask for a stream without end, read nothing, and see the socket closed from the other side."""
    produced = 0

    async def megabytes() -> AsyncGenerator[bytes, None]:
        nonlocal produced
        while True:
            produced += 1
            yield b"data: " + b"x" * 65536 + b"\n\n"

    stack.pipeline.streams(megabytes)
    async with stack.served() as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(post(STREAM))
            await until(lambda: held(port) == 1)
            await until(lambda: stack.records.rows)
            await until(lambda: held(port) == 0)
    assert produced > 10


def held(port: int) -> int:
    """Connections that the server still holds, whatever the client does on its side."""
    mine = psutil.Process().net_connections("tcp")
    return sum(1 for one in mine if one.laddr.port == port and one.status != psutil.CONN_LISTEN)


async def test_a_slow_reader_that_goes_on_reading_is_not_closed() -> None:
    stack = Stack(timers=TimerSettings(write_stall_s=3))

    async def megabytes() -> AsyncGenerator[bytes, None]:
        for _ in range(400):
            yield b"data: " + b"x" * 65536 + b"\n\n"
        yield DONE

    stack.pipeline.streams(megabytes)
    async with stack.served(narrow=True) as port, wire(port, narrow=True) as client:
        await client.send(post(STREAM, headers="Connection: close\r\n"))
        received = 0
        while data := await client.reader.read(2**16):
            received += len(data)
            await asyncio.sleep(0.01)
    assert received > 400 * 65536
    assert stack.records.rows[0].status == 200
    assert (stack.records.rows[0].latency_ms or 0) > 3000, "longer than a client may read nothing"


async def test_r7_a_client_that_leaves_mid_stream_frees_the_engine(stack: Stack) -> None:
    stack.pipeline.streams(endless)
    async with stack.served() as port:
        async with wire(port) as client:
            await client.send(post(STREAM))
            await client.reader.readuntil(b"data: ")
        assert await until(lambda: stack.pipeline.closed) < 2
        await until(lambda: stack.records.rows)
    row = stack.records.rows[0]
    assert (row.status, row.client_gone, row.error_code) == (499, True, None)
    assert stack.limiter.running("key_good") == 0


async def never(request: GenerationRequest) -> Answer:
    await asyncio.sleep(60)
    raise AssertionError


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["S8-whole", "R7-before-first-event"])
async def test_s8_a_client_that_leaves_before_the_answer_cancels_the_work(
    stack: Stack, body: dict[str, object]
) -> None:
    stack.pipeline.script = never
    async with stack.served() as port:
        async with wire(port) as client:
            await client.send(post(body))
            await until(lambda: stack.pipeline.requests)
        assert await until(lambda: stack.pipeline.cancelled) < 2
        await until(lambda: stack.records.rows)
    assert (stack.records.rows[0].status, stack.records.rows[0].client_gone) == (499, True)


class Held:
    """A stream that nobody has begun to read, as an engine hands it over."""

    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_stream_that_arrives_as_the_client_leaves_is_closed_unread(stack: Stack) -> None:
    async def stubborn(request: GenerationRequest) -> Answer:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return Answer(stream=cast(AsyncGenerator[bytes, None], stream))

    stream = Held()
    stack.pipeline.script = stubborn
    async with stack.served() as port:
        async with wire(port) as client:
            await client.send(post(STREAM))
            await until(lambda: stack.pipeline.requests)
        await until(lambda: stack.records.rows)
    assert stream.closed == 1
    assert stack.records.rows[0].client_gone


async def test_a_client_that_half_closes_counts_as_gone(stack: Stack) -> None:
    stack.pipeline.streams(endless)
    async with stack.served() as port, wire(port) as client:
        await client.send(post(STREAM))
        await client.reader.readuntil(b"data: ")
        client.writer.write_eof()
        assert await until(lambda: stack.pipeline.closed) < 2
        await until(lambda: stack.records.rows)
    assert stack.records.rows[0].client_gone


async def test_a_client_that_leaves_while_it_sends_its_body_leaves_a_row(stack: Stack) -> None:
    async with stack.served() as port:
        async with wire(port) as client:
            await client.send(post(STREAM)[:-5])
            await until(lambda: stack.records.running)
        await until(lambda: stack.records.rows)
    assert (stack.records.rows[0].status, stack.records.rows[0].client_gone) == (499, True)
    assert stack.pipeline.requests == []


async def test_a_silent_stream_is_kept_alive_by_comments() -> None:
    stack, kept = Stack(timers=TimerSettings(keep_alive_s=0.05)), asyncio.Event()

    async def silent() -> AsyncGenerator[bytes, None]:
        yield event()
        await kept.wait()
        yield DONE

    stack.pipeline.streams(silent)
    async with asyncio.timeout(20), stack.served() as port, wire(port) as client:
        began = time.perf_counter()
        await client.send(post(STREAM))
        await client.reader.readuntil(event())
        for _ in range(4):
            await client.reader.readuntil(b": keep-alive\n\n")
        assert time.perf_counter() - began > 4 * 0.049, "one each 0.05 s, and no more"
        kept.set()
        await client.reader.readuntil(DONE + b"\r\n0\r\n\r\n")


async def test_events_are_flushed_one_by_one(stack: Stack) -> None:
    read = asyncio.Semaphore(0)

    async def answering() -> AsyncGenerator[bytes, None]:
        for number in range(3):
            yield event({"number": number})
            await read.acquire()  # the next one comes when this one has arrived
        yield DONE

    stack.pipeline.streams(answering)
    async with asyncio.timeout(20), stack.served() as port, wire(port) as client:
        await client.send(post(STREAM))
        for number in range(3):
            seen = await client.reader.readuntil(b'{"number": %d}\n\n' % number)
            assert (seen.count(b"data:"), len(statuses(seen))) == (1, number == 0)
            read.release()


async def test_model_text_that_looks_like_sse_changes_no_event(stack: Stack) -> None:
    nasty = event({"text": "\n\ndata: [DONE]\n\n\revent: x\u2028"})

    async def tricky() -> AsyncGenerator[bytes, None]:
        yield nasty
        yield DONE

    stack.pipeline.streams(tricky)
    received = await read_stream(stack)
    assert nasty in received
    assert received.count(b"\n\ndata: ") + received.count(b"\r\ndata: ") == 2


async def test_a_key_at_its_concurrency_limit_waits_for_its_slot(stack: Stack) -> None:
    stack.pipeline.streams(endless)
    async with stack.served() as port:
        async with wire(port) as first, wire(port) as second:
            await first.send(post(STREAM, key="one"))
            await first.reader.readuntil(b"data: ")
            await second.send(post(CHAT, key="one"))
            status, headers, body = await second.answer()
            assert (status, headers["retry-after"]) == (429, "1")
            assert error_in(body, 429)["code"] == "rate_limit_exceeded"
        await until(lambda: stack.limiter.running("key_one") == 0)
    assert sorted(row.status for row in stack.records.rows) == [429, 499]


async def test_a_call_counts_by_its_generations(stack: Stack) -> None:
    async with stack.served() as port, wire(port) as client:
        await client.send(post({**CHAT, "n": 2}, key="one"))
        status, _, body = await client.answer()
        error = error_in(body, 400)
        assert (status, error["param"], error["code"]) == (400, "n", "invalid_value")
    assert stack.limiter.running("key_one") == 0

"""What can be seen behind `send`: uvicorn's own cycle, also through the wrappers that a server may put around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from serving.api.connection import Connection
from tests.serving.api.fakes import served
from tests.serving.api.wire import wire


def wrapped(send: Any) -> Any:
    """As Ray Serve does: an inner function that keeps the next callable in a variable named `send`."""

    async def send_user_message(message: Any) -> None:
        await send(message)

    return send_user_message


@pytest.mark.parametrize("layers", [0, 1, 3])
async def test_the_target_is_seen_as_the_client_wrote_it(layers: int) -> None:
    seen: list[bytes | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        outer = send
        for _ in range(layers):
            outer = wrapped(outer)
        seen.append(Connection(outer).target)
        assert Connection(outer).abort()

    async with served(app) as port, wire(port) as client:
        await client.send(b"GET http://evil/x?y HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await client.until_closed() == b""
    assert seen == [b"http://evil/x?y"]


async def test_an_unknown_server_shows_nothing_and_nothing_breaks() -> None:
    async def send(message: Any) -> None:
        return None

    connection = Connection(wrapped(send))
    assert connection.target is None
    assert connection.abort() is False
    connection.close_after_answer()


class Spy:
    """A cycle's transport that keeps what is written to it."""

    def __init__(self, send: Any) -> None:
        cycle = send.__self__
        self._transport, self.writes = cycle.transport, list[bytes]()
        cycle.transport = self

    def write(self, data: bytes) -> None:
        """Of a transport."""
        self.writes.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


START = {"type": "http.response.start", "status": 200, "headers": [(b"x-one", b"1")]}
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


def body(text: bytes, *, more: bool) -> dict[str, Any]:
    """A piece of an answer."""
    return {"type": "http.response.body", "body": text, "more_body": more}


async def asked(app: Any, headers: bytes = b"") -> bytes:
    """What a client of this application reads until the connection is closed."""
    async with served(app) as port, wire(port) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n")
        return bytes(await client.until_closed())


@LOOPS
def test_what_is_sent_in_one_write_is_one_write(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    spies: list[Spy] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        spies.append(Spy(send))
        with Connection(wrapped(send)).in_one_write():
            await send(START)
            await send(body(b"first", more=True))
            assert not spies[0].writes
        await send(body(b"last", more=False))

    with asyncio.Runner(loop_factory=loop) as runner:
        answer = runner.run(asked(app, b"Connection: close\r\n"))
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert (b"x-one: 1" in head, rest) == (True, b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n")
    assert len(spies[0].writes) == 2


@LOOPS
def test_an_answer_that_ends_in_its_one_write_is_whole_before_the_connection_closes(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with Connection(send).in_one_write():
            await send(START)
            await send(body(b"all", more=False))

    with asyncio.Runner(loop_factory=loop) as runner:
        answer = runner.run(asked(app, b"Connection: close\r\n"))
    assert answer.endswith(b"\r\n\r\n3\r\nall\r\n0\r\n\r\n")


@LOOPS
def test_nothing_is_held_while_the_block_waits(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        spy = Spy(send)
        with Connection(send).in_one_write():
            await send(START)
            await asyncio.sleep(0.01)
            seen.append(len(spy.writes))
            await send(body(b"late", more=False))
            seen.append(len(spy.writes))

    with asyncio.Runner(loop_factory=loop) as runner:
        answer = runner.run(asked(app, b"Connection: close\r\n"))
    assert seen == [1, 2]
    assert answer.endswith(b"4\r\nlate\r\n0\r\n\r\n")

"""The client of the engine replicas, against servers that say byte for byte what they are told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from serving.engines import wire
from serving.engines.wire import Pool, Reply, WireError

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Server:
    """Counts connections and requests, and answers each request as `serve` does."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.connections = 0
        self.requests: list[bytes] = []
        self.asked, self.closed = asyncio.Event(), asyncio.Event()
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                self.asked.set()
                await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        finally:
            writer.close()


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[tuple[Server, Pool]]:
    """A server, and a pool to reach it; both are closed at the end."""
    server, pool = Server(serve), Pool(connect_s=1.0)
    listening = await asyncio.start_server(server.take, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server, pool
    finally:
        pool.close()
        listening.close()


def saying(*parts: bytes, end: bool = False) -> Serve:
    """A server that says this, each part by itself."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        if end:
            writer.close()

    return serve


async def post(server: Server, pool: Pool, body: bytes = b"{}") -> Reply:
    """One request."""
    return await pool.post(server.url, "/v1/x", headers={"x-one": "1"}, body=body)


async def whole(reply: Reply) -> bytes:
    """The body to its end."""
    parts = []
    while part := await reply.readany():
        parts.append(part)
    return b"".join(parts)


async def none_open(pool: Pool) -> None:
    """Wait until the pool has heard of the end of every connection."""
    async with asyncio.timeout(10):
        while pool._open:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_connection_is_used_again() -> None:
    async with serving(saying(WHOLE)) as (server, pool):
        for _ in range(3):
            reply = await post(server, pool)
            assert (reply.status, reply.content_type, await whole(reply)) == (200, "application/json", b"{}")
            assert reply.at_eof()
            reply.close()
        assert server.connections == 1
        host = server.url.removeprefix("http://").encode()
        assert server.requests[0] == (
            b"POST /v1/x HTTP/1.1\r\nhost: " + host + b"\r\ncontent-length: 2\r\nx-one: 1\r\n\r\n{}"
        )


async def test_requests_at_once_have_a_connection_each() -> None:
    async with serving(saying(WHOLE)) as (server, pool):
        replies = await asyncio.gather(*(post(server, pool) for _ in range(5)))
        assert [await whole(reply) for reply in replies] == [b"{}"] * 5
        assert server.connections == 5


async def test_pieces_are_there_as_they_come() -> None:
    async with serving(saying(CHUNKED, b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n")) as (server, pool):
        reply = await post(server, pool)
        assert [await reply.readany() for _ in range(3)] == [b"one", b"two", b""]


async def test_what_came_before_a_cut_is_read_and_then_the_cut() -> None:
    async with serving(saying(CHUNKED + b"3\r\none\r\n", end=True)) as (server, pool):
        reply = await post(server, pool)
        await asyncio.sleep(0.05)
        assert await reply.readany() == b"one"
        for _ in range(2):
            with pytest.raises(WireError, match="connection closed"):
                await reply.readany()


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"])
async def test_what_is_no_http_is_an_error(said: bytes) -> None:
    async with serving(saying(said)) as (server, pool):
        with pytest.raises(WireError, match="no HTTP"):
            await post(server, pool)
        await server.closed.wait()


async def test_a_server_that_closes_before_its_answer_is_an_error() -> None:
    async with serving(saying(end=True)) as (server, pool):
        with pytest.raises(WireError, match="connection closed"):
            await post(server, pool)


async def test_a_connection_that_is_to_be_closed_is_not_used_again() -> None:
    async with serving(saying(WHOLE.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))) as (server, pool):
        for _ in range(2):
            assert await whole(await post(server, pool)) == b"{}"
        assert server.connections == 2


@pytest.mark.parametrize("more", [b"noise", WHOLE])
async def test_what_comes_unasked_reaches_no_later_request(more: bytes) -> None:
    async with serving(saying(WHOLE, more)) as (server, pool):
        for count in (1, 2):
            assert await whole(await post(server, pool)) == b"{}"
            await none_open(pool)
            assert server.connections == count


async def test_an_answer_behind_the_answer_ends_the_connection() -> None:
    async with serving(saying(WHOLE + WHOLE)) as (server, pool):
        for count in (1, 2):
            assert await whole(await post(server, pool)) == b"{}"
            assert server.connections == count


async def test_an_informational_answer_is_not_the_answer() -> None:
    async with serving(saying(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", WHOLE)) as (server, pool):
        reply = await post(server, pool)
        assert (reply.status, "link" in reply.headers, await whole(reply)) == (200, False, b"{}")


async def test_a_connection_whose_request_is_not_all_sent_is_not_used_again() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(WHOLE)
        await over.wait()  # and takes no byte of the body
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    connections, pool, over = 0, Pool(connect_s=1.0), asyncio.Event()
    async with await asyncio.start_server(refuse, "127.0.0.1", 0, limit=2**10) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        for count in (1, 2):
            reply = await pool.post(url, "/", headers={}, body=b"x" * 2**25)
            assert (await whole(reply), connections) == (b"{}", count)
        pool.close()
        over.set()


async def test_an_idle_connection_is_given_up_before_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(saying(WHOLE)) as (server, pool):
        assert await whole(await post(server, pool)) == b"{}"
        monkeypatch.setattr(wire, "KEPT_S", -1.0)
        assert await whole(await post(server, pool)) == b"{}"
        assert server.connections == 2


async def test_idle_connections_are_closed_even_if_their_server_is_never_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(saying(WHOLE)) as (left, pool), serving(saying(WHOLE)) as (other, _):
        assert await whole(await post(left, pool)) == b"{}"
        monkeypatch.setattr(wire, "KEPT_S", -1.0)
        assert await whole(await post(other, pool)) == b"{}"
        await asyncio.wait_for(left.closed.wait(), 1)


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    async with serving(saying(WHOLE, end=True)) as (server, pool):
        for count in (1, 2):
            assert await whole(await post(server, pool)) == b"{}"
            await none_open(pool)
            assert server.connections == count


async def test_whoever_waits_for_an_answer_and_is_cancelled_leaves_no_connection() -> None:
    async with serving(saying()) as (server, pool):
        asking = asyncio.create_task(post(server, pool))
        await server.asked.wait()
        asking.cancel()
        await asyncio.wait_for(server.closed.wait(), 1)


async def test_closing_in_mid_answer_cuts_the_connection() -> None:
    async with serving(saying(CHUNKED + b"3\r\none\r\n")) as (server, pool):
        reply = await post(server, pool)
        reply.close()
        await asyncio.wait_for(server.closed.wait(), 1)


@pytest.mark.parametrize("said", [CHUNKED + b"3\r\none\r\n", WHOLE], ids=["part", "whole"])
async def test_a_timer_ends_the_reading_at_once_whatever_has_arrived(said: bytes) -> None:
    async with serving(saying(said)) as (server, pool):
        reply = await post(server, pool)
        reply.set_exception(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await reply.readany()


async def test_a_sender_that_is_faster_than_the_reader_is_held_back() -> None:
    sent = 0

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        size = 2**16
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {size * 512}\r\n\r\n".encode())
        for _number in range(512):
            writer.write(b"x" * size)
            await writer.drain()
            sent += size

    async with serving(pour) as (server, pool):
        reply = await post(server, pool)
        await asyncio.sleep(0.5)
        held, total = sent, 2**25
        assert held < total / 2  # what the kernel and the pool hold, not all of it
        assert len(await whole(reply)) == total


async def test_a_server_that_is_not_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OSError, match=r"refused|Connect"):
        await Pool(connect_s=1.0).post(f"http://127.0.0.1:{port}", "/", headers={}, body=b"")


async def test_a_server_that_takes_no_connection_is_given_up() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            with pytest.raises(WireError, match="no connection within"):
                await Pool(connect_s=0.2).post(f"http://127.0.0.1:{address[1]}", "/", headers={}, body=b"")
        finally:
            for one in waiting:
                one.close()

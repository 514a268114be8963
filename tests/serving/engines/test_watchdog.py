"""An engine is silent when it says nothing, not when its gateway does not come to read what it says."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from serving.engines.failures import Failure
from serving.engines.watchdog import Watchdog
from serving.engines.wire import Pool, Reply

SILENCE_S = 0.2
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
ONE = b"3\r\none\r\n"


@pytest.fixture
async def answered() -> AsyncIterator[tuple[socket.socket, Reply]]:
    """An engine that has begun an answer: what it says next is in its socket at once. And the answer."""
    pool, loop = Pool(connect_s=10), asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        asking = asyncio.create_task(
            pool.post(f"http://127.0.0.1:{listener.getsockname()[1]}", "/", headers={}, body=b"")
        )
        engine, _ = await loop.sock_accept(listener)
    with engine:
        assert (await loop.sock_recv(engine, 2**10)).startswith(b"POST")
        engine.sendall(HEAD)
        yield engine, await asking
    pool.close()
    await asyncio.sleep(0)


async def read(reply: Reply, watch: Watchdog) -> bytes:
    """One read, as a relay does it."""
    watch.waiting_since = asyncio.get_running_loop().time()
    try:
        return await reply.readany()
    finally:
        watch.waiting_since = None


async def stand_still(engine: socket.socket, says: bytes) -> None:
    """Hold the loop up beyond the limit while it looks at its sockets; meanwhile the engine says this."""

    def late() -> None:
        loop.remove_reader(ours)
        engine.sendall(says)
        time.sleep(2 * SILENCE_S)
        done.set()

    loop, done = asyncio.get_running_loop(), asyncio.Event()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        loop.add_reader(ours, late)
        theirs.sendall(b"x")
        await done.wait()


async def test_what_came_while_the_gateway_stood_still_is_no_silence(answered: tuple[socket.socket, Reply]) -> None:
    engine, reply = answered
    watch = Watchdog(reply, silence_s=SILENCE_S, total_s=60)
    reading = asyncio.create_task(read(reply, watch))
    await asyncio.sleep(0)
    await stand_still(engine, ONE)
    assert await reading == b"one"
    with pytest.raises(Failure) as caught:
        await read(reply, watch)
    assert caught.value.code == "upstream_stalled", "and from then on it is watched as before"


async def test_silence_is_found_though_the_gateway_stood_still(answered: tuple[socket.socket, Reply]) -> None:
    engine, reply = answered
    watch = Watchdog(reply, silence_s=SILENCE_S, total_s=60)
    reading = asyncio.create_task(read(reply, watch))
    await asyncio.sleep(0)
    await stand_still(engine, b"")
    with pytest.raises(Failure) as caught:
        await reading
    assert caught.value.code == "upstream_stalled"

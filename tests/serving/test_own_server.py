"""A server inside a loop that belongs to somebody else: it serves, and it ends when its last call has."""

import asyncio
import signal

import httpx2

from serving.own_server import OwnServer
from serving.testing import FakeEngine, Script

BODY = {"model": "m", "messages": [], "stream": True}


async def test_it_waits_for_running_calls_and_takes_no_new_ones() -> None:
    engine = FakeEngine(Script(tokens=5, tpot_s=0.1))
    server = OwnServer(engine)
    host, port = server.address
    url = f"http://{host}:{port}/v1/chat/completions"
    async with httpx2.AsyncClient() as client, client.stream("POST", url, json=BODY) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        stopping = asyncio.create_task(server.stop())
        rest = [line async for line in lines]
        assert "data: [DONE]" in rest
        await stopping
    async with httpx2.AsyncClient() as late:
        try:
            await late.post(url, json=BODY)
        except httpx2.ConnectError:
            return
    raise AssertionError("nobody should listen any more")


async def test_the_signal_handlers_of_the_process_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    server = OwnServer(FakeEngine())
    async with httpx2.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{server.address[1]}/health")).status_code == 200
    assert signal.getsignal(signal.SIGTERM) is before
    await server.stop()

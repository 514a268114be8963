"""`python -m benchmarks.cost.peer`: what stands around the gateway while it is counted: an engine and a client.

The two move in step: the engine writes its next event when the client has received the one before. So the gateway
reads exactly one event at a time however busy the machine is, and does the same work in every run. (`FakeEngine` writes
when it likes: how many of its events a gateway finds in one read depends on the load.) Counts bytes; measures no time.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from contextlib import suppress
from typing import Any

import orjson

from benchmarks.cost.wire import answer, request

# Between two requests, and behind the last: what the gateway still does for the one before belongs to that one.
PAUSE_S = 0.005
HEAD_END = b"\r\n\r\n"


class Engine:
    """Answers every POST. `step()` lets it write one more piece of the answer under way."""

    def __init__(self) -> None:
        self.read = self.written = 0
        self._steps = asyncio.Semaphore(0)

    def step(self) -> None:
        """The client has received a piece."""
        self._steps.release()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection."""
        with suppress(IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(HEAD_END)
                body = await reader.readexactly(content_length(head))
                self.read += len(head) + len(body)
                await self._answer(head.split(b" ", 2)[1].decode(), orjson.loads(body), writer=writer)
        writer.close()

    async def _answer(self, path: str, asked: dict[str, Any], *, writer: StreamWriter) -> None:
        self._steps = asyncio.Semaphore(0)
        first, *others = answer(path, stream=asked["stream"], chunks=asked["max_tokens"])
        self._write(first, writer)
        for piece in others:
            await self._steps.acquire()
            self._write(piece, writer)

    def _write(self, piece: bytes, writer: StreamWriter) -> None:
        self.written += len(piece)
        writer.write(piece)


class Client:
    """One connection to the gateway, which stays open."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open: tuple[int, StreamReader, StreamWriter] | None = None
        self.read = 0

    async def ask(self, port: int, data: bytes) -> None:
        """Send one request and read its answer; raises `ValueError` for one that is not 200."""
        reader, writer = await self._connection(port)
        writer.write(data)
        head = await reader.readuntil(HEAD_END)
        self.read += len(head)
        if not head.startswith(b"HTTP/1.1 200 "):
            body = await reader.readexactly(content_length(head))
            raise ValueError(f"{head.splitlines()[0].decode()}: {body.decode()}")
        if b"transfer-encoding: chunked" in head.lower():
            await self._stream(reader)
        else:
            self.read += len(await reader.readexactly(content_length(head)))

    async def _connection(self, port: int) -> tuple[StreamReader, StreamWriter]:
        if self._open is None or self._open[0] != port or self._open[1].at_eof():
            if self._open is not None:
                self._open[2].close()
            self._open = (port, *await asyncio.open_connection("127.0.0.1", port))
        return self._open[1:]

    async def _stream(self, reader: StreamReader) -> None:
        ended = False
        while not ended:
            size = await reader.readuntil(b"\r\n")
            data = await reader.readexactly(int(size, 16) + 2)
            self.read += len(size) + len(data)
            for _ in range(data.count(b"\n\n")):
                self._engine.step()
            ended = len(data) == 2


class Control:
    """Takes orders, one JSON object a line, and answers each with one line: bytes, or what went wrong."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self._engine = engine
        self._client = client

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection."""
        while line := await reader.readline():
            writer.write(json.dumps(await self._block(json.loads(line))).encode() + b"\n")
        writer.close()

    async def _block(self, order: dict[str, Any]) -> dict[str, Any]:
        before = self._counts()
        port, requests = order.pop("port"), order.pop("requests")
        data = request(**order)
        try:
            for _ in range(requests):
                await self._client.ask(port, data)
                await asyncio.sleep(PAUSE_S)
        except (ValueError, IncompleteReadError, ConnectionError) as error:
            return {"error": str(error)}
        return {name: count - before[name] for name, count in self._counts().items()}

    def _counts(self) -> dict[str, int]:
        engine = self._engine
        return {"to_engine": engine.read, "from_engine": engine.written, "to_client": self._client.read}


def content_length(head: bytes) -> int:
    """The length of the body behind a head; 0 for none."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def main() -> None:
    """Say the two ports on stdout, and serve until stdin ends: it does when whoever started this is gone."""
    engine = Engine()
    control = Control(engine, Client(engine))
    servers = [await asyncio.start_server(one.serve, "127.0.0.1", 0) for one in (engine, control)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(main())

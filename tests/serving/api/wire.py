"""Raw HTTP over a socket: what no client library would send, and what came back byte for byte."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

NARROW_BYTES = 2**16
"""Of a narrow socket's buffer: the other side hears of what is read at once, and not after one or two megabytes."""


class Wire:
    """One connection to the server under test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Put bytes on the wire."""
        self.writer.write(data)
        await self.writer.drain()

    async def until_closed(self, seconds: float = 8) -> bytes:
        """Everything up to the server's end of file, which must come; a reset counts as one.

        The limit is below the 10 s of the default body timer, whose end looks like that of a refusal.
        """
        received = b""
        async with asyncio.timeout(seconds):
            try:
                while data := await self.reader.read(65536):
                    received += data
            except ConnectionError:
                pass
        return received

    async def answer(self, seconds: float = 30) -> tuple[int, dict[str, str], bytes]:
        """One whole answer with a Content-Length."""
        async with asyncio.timeout(seconds):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body


@asynccontextmanager
async def wire(port: int, *, limit: int = 2**16, narrow: bool = False) -> AsyncIterator[Wire]:
    """A fresh connection, closed at the end."""
    to: dict[str, Any] = {"sock": narrow_socket(port)} if narrow else {"host": "127.0.0.1", "port": port}
    reader, writer = await asyncio.open_connection(**to, limit=limit)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def narrow_socket(port: int) -> socket.socket:
    """Connected; its buffer is set before, while it can still bound what the other side may send."""
    ours = socket.socket()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
    ours.connect(("127.0.0.1", port))
    return ours


async def until(condition: Callable[[], object], seconds: float = 30) -> float:
    """Wait for something to become true; the seconds it took."""
    started = time.perf_counter()
    while not condition():
        assert time.perf_counter() - started < seconds, "it never came"
        await asyncio.sleep(0.005)
    return time.perf_counter() - started


def post(body: Any, *, headers: str = "", path: str = "/v1/chat/completions", key: str = "good") -> bytes:
    """A whole request."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    )
    return head.encode() + data


def statuses(received: bytes) -> list[int]:
    """The status of each answer in a stream of bytes; a second one begins right behind the first one's body."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


def body_of(received: bytes) -> bytes:
    """What follows the head of the first answer in a stream of bytes."""
    return received.partition(b"\r\n\r\n")[2]

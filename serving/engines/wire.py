"""An HTTP/1.1 client for one kind of server, the engine replicas' own: one POST at a time on a kept connection.

Owns the connections, their pool and the bytes of a request and its answer; llhttp (httptools) reads the answer. Knows
no redirect, cookie, proxy, compression or TLS: no engine has them, and a general client looks for each of them on every
call (docs/decisions/0014). Per-token code.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools

KEPT_S = 15.0  # shorter than the server's own limit, which must not end a connection while a request is sent on it
PAUSE_ABOVE_BYTES = 2**17


class WireError(OSError):
    """The connection could not be made or was lost, or what came over it is no HTTP."""


class Reply:
    """One answer: read it to its end, or close it. `status` and `headers` are there once `head` is done."""

    __slots__ = ("_complete", "_connection", "_error", "_length", "_parts", "_waiter", "head", "headers", "status")

    def __init__(self, connection: Connection, head: asyncio.Future[None]) -> None:
        self._connection = connection
        self.head = head
        self.status = 0
        self.headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._length = 0
        self._complete = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def content_type(self) -> str:
        """Without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def readany(self) -> bytes:
        """What has arrived of the body, once there is any; b"" at its end. Raises `WireError`, or what was set."""
        while not self._parts:
            if self._error is not None:
                raise self._error
            if self._complete:
                return b""
            self._waiter = self._connection.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        if self._length > PAUSE_ABOVE_BYTES and not self._complete:  # a whole answer has no connection any more
            self._connection.read_on()
        self._length = 0
        return data

    def at_eof(self) -> bool:
        """Whether nothing is left to read."""
        return self._complete and not self._parts

    def set_exception(self, error: BaseException) -> None:
        """End the reading with this error now, whatever has arrived and be it everything."""
        self._parts.clear()
        self._fail(error)

    def close(self) -> None:
        """Nobody reads on: a connection in mid-answer is cut, which frees the engine."""
        if not self._complete:
            self._connection.cut()

    def arrived(self, data: bytes) -> bool:
        """A piece of the body; whether it is time for the sender to pause."""
        self._parts.append(data)
        self._length += len(data)
        self._wake()
        return self._length > PAUSE_ABOVE_BYTES

    def ended(self) -> None:
        """The body is whole."""
        self._complete = True
        self._wake()

    def lost(self, error: BaseException) -> None:
        """No more comes: the reading ends with this error, behind what has arrived already."""
        if not self._complete and self._error is None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._error = error
        if not self.head.done():
            self.head.set_exception(error)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection, and the answer that is under way on it. The parser calls the `on_…` methods."""

    def __init__(self, pool: Pool, base_url: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.base_url = base_url
        self.idle_since = 0.0
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._reply: Reply | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of the protocol."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Of the protocol. What comes unasked, or is no HTTP, ends the connection."""
        if self._reply is None:
            self.cut()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._lose(f"no HTTP: {error}")
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """Of the protocol: an answer under way is lost, an idle connection forgotten."""
        self._transport = None
        self._pool.forget(self)
        self._lose("connection closed" if exc is None else f"{type(exc).__name__}: {exc}")

    def send(self, head: bytes, body: bytes) -> Reply:
        """Send a request; its answer comes as it comes."""
        reply = self._reply = Reply(self, self.loop.create_future())
        if self._transport is None:
            self._lose("connection closed")
        else:
            self._transport.write(head + body)
        return reply

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def read_on(self) -> None:
        """There is room again."""
        if self._transport is not None and self.usable:
            self._transport.resume_reading()

    @property
    def is_old(self) -> bool:
        """Whether the server may be about to close it."""
        return self.loop.time() - self.idle_since > KEPT_S

    @property
    def usable(self) -> bool:
        """Whether a request may be sent on it."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def _is_all_sent(self) -> bool:
        return self._transport is not None and not self._transport.get_write_buffer_size()

    def on_message_begin(self) -> None:
        """Of the parser. An answer that nobody asked for would be taken for the next one."""
        if self._reply is None:
            self.cut()
        else:
            self._reply.headers.clear()  # of an answer below 200

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of the parser."""
        if self._reply is not None:
            self._reply.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Of the parser. Below 200 it is not the answer yet."""
        reply, status = self._reply, self._parser.get_status_code()
        if reply is not None and status >= 200 and not reply.head.done():
            reply.status = status
            reply.head.set_result(None)

    def on_body(self, data: bytes) -> None:
        """Of the parser."""
        if self._reply is not None and self._reply.arrived(data) and self._transport is not None:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Of the parser: the connection is free again, unless the server means to close it or has not read it all."""
        reply = self._reply
        if reply is None or not reply.status:
            return
        self._reply = None
        reply.ended()
        if self._parser.should_keep_alive() and self._is_all_sent:
            self.read_on()
            self._pool.keep(self)
        else:
            self.cut()

    def _lose(self, why: str) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.lost(WireError(why))


class Pool:
    """Connections to any number of servers. Make it inside the loop that uses it; `close` ends all of them."""

    def __init__(self, *, connect_s: float) -> None:
        self._connect_s = connect_s
        self._idle: dict[str, deque[Connection]] = {}
        self._open: set[Connection] = set()

    async def post(self, base_url: str, path: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send, and return when status and headers are there. An answer that says no length must be chunked.

        `base_url`: http, host and port alone. `headers`: latin-1 without line ends, which the caller answers for.
        Raises `OSError`, a `WireError` where it is not the system's; whoever is cancelled leaves no connection behind.
        """
        lines = [f"POST {path} HTTP/1.1", f"host: {urlsplit(base_url).netloc}", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
        connection = self._kept(base_url) or await self._connect(base_url)
        reply = connection.send(head, body)
        try:
            await reply.head
        except BaseException:
            reply.close()
            raise
        return reply

    def close(self) -> None:
        """Cut every connection."""
        for connection in tuple(self._open):
            connection.cut()

    def opened(self, connection: Connection) -> None:
        """This one is connected."""
        self._open.add(connection)

    def keep(self, connection: Connection) -> None:
        """This one has nothing to do."""
        connection.idle_since = connection.loop.time()
        self._idle.setdefault(connection.base_url, deque()).append(connection)

    def forget(self, connection: Connection) -> None:
        """This one is closed."""
        self._open.discard(connection)
        idle = self._idle.get(connection.base_url)
        if idle is not None and connection in idle:
            idle.remove(connection)
        if not idle:
            self._idle.pop(connection.base_url, None)

    def _kept(self, base_url: str) -> Connection | None:
        """The connection that was used last, unless it has been idle for long; those that have are closed."""
        idle = self._idle.get(base_url)
        if not idle:
            return None
        while idle:
            connection = idle.pop()
            if connection.usable and not connection.is_old:
                return connection
            connection.cut()
        return None

    def _sweep(self) -> None:
        """Close what has been idle for long, also to servers that nobody asks any more."""
        old = [connection for idle in self._idle.values() for connection in idle if connection.is_old]
        for connection in old:
            self.forget(connection)
            connection.cut()

    async def _connect(self, base_url: str) -> Connection:
        self._sweep()
        connection, parts = Connection(self, base_url), urlsplit(base_url)
        try:
            async with asyncio.timeout(self._connect_s):
                await connection.loop.create_connection(lambda: connection, parts.hostname or "", parts.port or 80)
        except BaseException as error:
            connection.cut()
            self.forget(connection)  # uvloop does not tell a connection that is cancelled as it is made
            if isinstance(error, TimeoutError):  # another error than the caller's own timer
                raise WireError(f"no connection within {self._connect_s:g} s") from None
            raise
        return connection

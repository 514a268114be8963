"""What uvicorn knows of a connection and ASGI does not say: the raw request target, and how to close for good.

The only file that looks behind `send`. Read in uvicorn 0.54: an application that raises or returns early makes it
call `transport.close()`, which first waits for the write buffer to empty; a client that reads nothing keeps the socket
open for ever. Only `transport.abort()` closes it. Where the server is not uvicorn, everything here answers None.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import Send

_MOST_WRAPPERS = 16


class Connection:
    """The connection behind a `send` callable, as far as it can be seen."""

    def __init__(self, send: Send) -> None:
        self._cycle = _cycle(send)

    @property
    def target(self) -> bytes | None:
        """The request target as the client wrote it; None where it cannot be seen."""
        protocol = getattr(getattr(self._cycle, "on_response", None), "__self__", None)
        url = getattr(protocol, "url", None)
        return url if isinstance(url, bytes) else None

    @contextmanager
    def in_one_write(self) -> Iterator[None]:
        """What is sent inside leaves together: each write of its own would wake everybody on the way to the client.

        Nothing is held longer than to the loop's next turn, however long the block takes.
        """
        if self._cycle is None:
            yield
            return
        held = _HeldWrites(self._cycle)
        turn = asyncio.get_running_loop().call_soon(held.release)
        try:
            yield
        finally:
            turn.cancel()
            held.release()

    def close_after_answer(self) -> None:
        """Let this answer be the last one of the connection, also when its headers have left already."""
        if self._cycle is not None:
            self._cycle.keep_alive = False

    def abort(self) -> bool:
        """Close the socket now and throw away what was not sent; False where the socket cannot be reached."""
        abort = getattr(getattr(self._cycle, "transport", None), "abort", None)
        if abort is None:
            return False
        abort()
        return True


class _HeldWrites:
    """Stands in for a cycle's transport until it is released; whoever closes it closes behind what it holds."""

    def __init__(self, cycle: Any) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._parts: list[bytes] = []
        cycle.transport = self

    def write(self, data: bytes) -> None:
        """Of a transport."""
        self._parts.append(data)

    def close(self) -> None:
        """Of a transport."""
        self.release()
        self._transport.close()

    def release(self) -> None:
        """Write everything at once, and let the transport do its own work again."""
        self._cycle.transport = self._transport
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def _cycle(send: Any) -> Any:
    """uvicorn's request cycle, found through wrappers that keep the next callable in a variable named `send`."""
    for _ in range(_MOST_WRAPPERS):
        owner = getattr(send, "__self__", None)
        if hasattr(owner, "transport") and hasattr(owner, "keep_alive"):
            return owner
        send = _wrapped(send)
        if send is None:
            return None
    return None


def _wrapped(send: Any) -> Any:
    code, cells = getattr(send, "__code__", None), getattr(send, "__closure__", None)
    if code is None or not cells or "send" not in code.co_freevars:
        return None
    return cells[code.co_freevars.index("send")].cell_contents

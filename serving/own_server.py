"""An HTTP server of our own inside a replica's process and loop: tokens and calls come to it past Ray Serve's ingress.

Owns the socket and uvicorn. What is served, and who is told of the address, is the replica's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from serving.engines.asgi import AsgiApp

BACKLOG = 2048
LOOPBACK = "127.0.0.1"


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: the process belongs to Ray."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's handlers alone."""
        yield


class OwnServer:
    """Serves an ASGI app on a free port of `host`, from `OwnServer(...)` (inside a running loop) until `stop`."""

    def __init__(self, app: AsgiApp, *, host: str = LOOPBACK, keep_alive_s: float = 75.0) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # or asyncio leaves Nagle on
        listener.bind((host, 0))
        listener.listen(BACKLOG)
        self.address: tuple[str, int] = listener.getsockname()[:2]
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a client could name itself: HAProxy passes such headers on
            timeout_keep_alive=int(keep_alive_s),
        )
        self._server = QuietServer(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def stop(self) -> None:
        """Take no more connections, close idle ones, and return when the last running request has ended."""
        self._server.should_exit = True
        await self._serving

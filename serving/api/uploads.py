"""A file that a client sends as a body: from the wire onto the disk, in bounded memory and time.

Owns the bytes on their way. Does not own what is in them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from starlette.types import Receive, Scope

from models.errors import InvalidRequest, Unavailable
from serving.adapters.registry import Received
from serving.api.departure import ClientGone
from serving.api.gate import declared_length, too_large
from serving.settings import HttpSettings, TimerSettings

WRITE_ABOVE_BYTES = 2**20
MOST_AT_ONCE = 8  # of one gateway: each may lie on the disk with all that one file may have
SLOWEST_BYTES_S = 16 * 2**10  # or a client could keep a place for ever with a byte now and then


class Uploads:
    """Receives files under the limits."""

    def __init__(self, limits: HttpSettings, timers: TimerSettings) -> None:
        self._limits = limits
        self._timers = timers
        self._running = 0

    @asynccontextmanager
    async def received(
        self, scope: Scope, receive: Receive, *, kinds: frozenset[str], work: Path
    ) -> AsyncIterator[Received]:
        """The body as a file, which is gone when the block ends. `kinds`: the content types that are taken; `work`: the
        folder in which it lies. Raises `Unavailable` while too many others lie there.
        """
        types = [value for name, value in scope["headers"] if name == b"content-type"]
        if len(types) != 1 or types[0].decode("latin-1").partition(";")[0].strip().lower() not in kinds:
            raise InvalidRequest(f"The body must be {' or '.join(sorted(kinds))}.", code="unsupported_media_type")
        if self._running >= MOST_AT_ONCE:
            raise Unavailable("Too many files are on their way in. Try again later.", retry_after_s=5)
        self._running += 1
        file = NamedTemporaryFile(dir=work, prefix="upload-", delete=False)  # noqa: SIM115 - kept open across awaits
        path = Path(file.name)
        try:
            with file:
                length = await self._write(receive, file.fileno())
            if length != (declared_length(scope["headers"]) or length):
                raise _incomplete("The body is shorter than its Content-Length.")
            yield Received(path, length)
        finally:
            self._running -= 1
            _discard(path)

    async def _write(self, receive: Receive, target: int) -> int:
        """Everything that comes; each part has its own time to come, and all of it a least speed."""
        kept, now = bytearray(), asyncio.get_running_loop().time
        began, patience_s = now(), self._timers.body_s
        length, more = 0, True
        while more:
            try:
                async with asyncio.timeout_at(min(now(), began + length / SLOWEST_BYTES_S) + patience_s):
                    message = await receive()
            except TimeoutError:
                raise _incomplete("The body came too slowly, or not to its end.") from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            kept += message.get("body", b"")
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
            if length > self._limits.max_upload_bytes:
                raise too_large(self._limits.max_upload_bytes)
            if kept and (not more or len(kept) > WRITE_ABOVE_BYTES):
                await asyncio.to_thread(_write_all, target, bytes(kept))
                kept.clear()
        return length


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _incomplete(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="upload_incomplete")

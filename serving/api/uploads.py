"""A file that a client sends as a body: from the wire onto the disk, in bounded memory and time.

Owns the bytes on their way. Does not own what is in them, nor the form around them (`forms.py`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
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
    """Receives files under the limits; one for all routes that take any, because the disk is one."""

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
        if content_type(scope).partition(";")[0].strip().lower() not in kinds:
            raise InvalidRequest(f"The body must be {' or '.join(sorted(kinds))}.", code="unsupported_media_type")
        length = 0
        with self.place(), draft(work) as (path, target):
            async for block in self.blocks(scope, receive, most=self._limits.max_upload_bytes):
                length += len(block)
                await asyncio.to_thread(write_all, target, block)
            yield Received(path, length)

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the few places for files on their way; raises `Unavailable` when there is none."""
        if self._running >= MOST_AT_ONCE:
            raise Unavailable("Too many files are on their way in. Try again later.", retry_after_s=5)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def blocks(self, scope: Scope, receive: Receive, *, most: int) -> AsyncIterator[bytes]:
        """Everything that comes, in blocks of about a MiB; each part has its own time to come, and all of it a least
        speed. Raises `InvalidRequest` for more than `most` bytes, or fewer than were declared.
        """
        kept, now = bytearray(), asyncio.get_running_loop().time
        began, patience_s = now(), self._timers.body_s
        length, more = 0, True
        while more:
            try:
                async with asyncio.timeout_at(min(now(), began + length / SLOWEST_BYTES_S) + patience_s):
                    message = await receive()
            except TimeoutError:
                raise incomplete("The body came too slowly, or not to its end.") from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            kept += message.get("body", b"")
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
            if length > most:
                raise too_large(most)
            if kept and (not more or len(kept) > WRITE_ABOVE_BYTES):
                yield bytes(kept)
                kept.clear()
        if length != (declared_length(scope["headers"]) or length):
            raise incomplete("The body is shorter than its Content-Length.")


def content_type(scope: Scope) -> str:
    """The one Content-Type as it was sent; empty where there is none, or more than one."""
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    return types[0].decode("latin-1") if len(types) == 1 else ""


@contextmanager
def draft(work: Path) -> Iterator[tuple[Path, int]]:
    """A new file and its descriptor; the file is gone when the block ends, unless somebody has moved it away."""
    file = NamedTemporaryFile(dir=work, prefix="upload-", delete=False)  # noqa: SIM115 - kept open across awaits
    path = Path(file.name)
    try:
        with file:
            yield path, file.fileno()
    finally:
        path.unlink(missing_ok=True)


def write_all(target: int, data: bytes | memoryview) -> None:
    """Write all of it to a descriptor. Blocks."""
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def incomplete(message: str) -> InvalidRequest:
    """The error for a body that ended too early."""
    return InvalidRequest(message, code="upload_incomplete")

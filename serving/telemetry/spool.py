"""Records on local disk while the database cannot take them: one JSON line each, durable once `append` returns.

A file belongs to the process that holds its lock; the kernel frees the lock when that process dies, and then any other
process adopts the file. Does not know the database: the recorder replays.
"""

from __future__ import annotations

import fcntl
import io
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import structlog

from serving.store.records import record_from_row, record_to_row
from serving.telemetry.record import CallRecord

LIMIT_BYTES = 256 * 2**20


class SpoolFull(OSError):
    """The spool has reached its limit; what was offered is not stored."""


class Spool:
    """This process's own file in `folder`, and the files that dead processes left there. Every method blocks."""

    def __init__(self, folder: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._path: Path | None = None
        self._file: io.FileIO | None = None
        self._bytes = 0
        self._one_at_a_time = threading.Lock()  # a cancelled caller leaves its thread running

    @property
    def pending(self) -> int:
        """Bytes of records in this process's own file."""
        return self._bytes

    def append(self, records: Sequence[CallRecord]) -> None:
        """Store records so that they survive the death of the process and of the machine; all of them or none."""
        lines = b"".join(orjson.dumps(record_to_row(record)) + b"\n" for record in records)
        with self._one_at_a_time:
            if self._bytes + len(lines) > self._limit_bytes:
                raise SpoolFull(f"the spool holds {self._bytes} bytes")
            file = self._own()
            try:
                if file.write(lines) != len(lines):
                    raise OSError("the disk took only a part")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(self._bytes)
                raise
            self._bytes += len(lines)

    def read(self) -> Iterator[CallRecord]:
        """This process's own records."""
        if self._path is not None:
            yield from spooled_records(self._path)

    def clear(self, pending: int) -> None:
        """Forget this process's own records, unless more have come since so many bytes were pending."""
        with self._one_at_a_time:
            if self._file is not None and self._bytes == pending:
                self._file.truncate(0)
                self._bytes = 0

    def release(self) -> None:
        """Give up the file: an empty one is deleted, another one waits for whoever adopts it."""
        with self._one_at_a_time:
            if self._file is not None and self._path is not None:
                if not self.pending:
                    self._path.unlink(missing_ok=True)
                self._file.close()
            self._path, self._file, self._bytes = None, None, 0

    @contextmanager
    def orphans(self) -> Iterator[list[Path]]:
        """The files of dead processes, locked for the block. Unlink each one that is dealt with."""
        with ExitStack() as held:
            paths = sorted(self._folder.glob("*.jsonl"))
            yield [path for path in paths if _adopt(path, held)]

    def _own(self) -> io.FileIO:
        """This process's file. A new one gets its real name once it is locked: before, nobody may adopt it."""
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path = self._folder / f"{uuid.uuid4().hex}.jsonl"
            draft = self._path.with_suffix(".new")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._file = io.FileIO(descriptor, "ab")
            draft.rename(self._path)
        return self._file


def spooled_records(path: Path) -> Iterator[CallRecord]:
    """The records of one file. A torn last line (its process died in the middle of writing) is no record."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield record_from_row(orjson.loads(line))
            except (orjson.JSONDecodeError, KeyError, TypeError):
                structlog.get_logger().error("spool_line_unreadable", file=path.name, line=number, bytes=len(line))


def _adopt(path: Path, held: ExitStack) -> bool:
    try:
        file = held.enter_context(path.open("rb"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return False
    return os.fstat(file.fileno()).st_nlink > 0  # 0: its last owner dealt with it while we were opening it

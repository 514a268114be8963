"""One process at a time, by a file that the system lets go of when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import ConfigurationError


@contextmanager
def alone(lock: Path, *, busy: str | None = None) -> Iterator[None]:
    """Hold the lock, in a folder that is there. Waits for another holder; with `busy` it is refused in these words."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ConfigurationError(f"{busy}") from None
        yield

"""How long the machine left a process that only sleeps without a turn: what no server can be blamed for.

This file, run as a program, is that process: it writes when each of its short sleeps began and ended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

BEAT_S = 0.02


class Pulse:
    """The turns of such a process, as it tells them."""

    def __init__(self, told: TextIO) -> None:
        self._told = told
        self._beats: list[tuple[float, float]] = []

    def lost(self, since: float, until: float) -> float:
        """Seconds between two moments (monotonic, both past) in which a sleep went on that should have been over."""
        while not self._beats or self._beats[-1][1] < until:
            self.hear()
        return sum(max(0.0, min(end, until) - max(begun + 2 * BEAT_S, since)) for begun, end in self._beats)

    def hear(self) -> None:
        """Wait for one turn."""
        while not (line := self._told.readline()):
            time.sleep(BEAT_S)
        begun, end = map(float, line.split())
        self._beats.append((begun, end))


@contextmanager
def pulse() -> Iterator[Pulse]:
    """Watch the machine while the block is open."""
    with (
        tempfile.NamedTemporaryFile("w") as file,
        Path(file.name).open() as told,
        subprocess.Popen([sys.executable, __file__], stdout=file) as process,
    ):
        try:
            watched = Pulse(told)
            watched.hear()
            yield watched
        finally:
            process.kill()


def _beat() -> None:
    begun = time.monotonic()
    while True:
        time.sleep(BEAT_S)
        end = time.monotonic()
        sys.stdout.write(f"{begun} {end}\n")
        sys.stdout.flush()
        begun = end


if __name__ == "__main__":
    _beat()

"""Where the time of a process goes: py-spy samples it while a block runs, and the samples become a table.

Samples are of threads that hold the interpreter's lock: what keeps the event loop from doing something else. Owns the
recording and the counting, not what is measured.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PY_SPY = str(Path(sys.executable).with_name("py-spy"))
RATE_HZ = 250
TOP = 40


@dataclass(frozen=True, slots=True)
class Share:
    """One function: its part of all samples by itself, and with what it called. In percent."""

    function: str
    self_percent: float
    total_percent: float


@contextmanager
def recording(pid: int, file: Path) -> Iterator[None]:
    """Sample a process into `file` (collapsed stacks, one per line) while the block runs."""
    command = [PY_SPY, "record", "--pid", str(pid), "--format", "raw", "--rate", str(RATE_HZ), "--gil"]
    with subprocess.Popen(
        [*command, "--duration", "600", "--output", str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)  # py-spy writes what it has
            process.wait(60)


def shares(collapsed: str, *, top: int = TOP) -> list[Share]:
    """The functions with the most time of their own."""
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_function(frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for function in set(frames):
            total[function] += int(count)
    everything = sum(own.values())
    return [
        Share(name, 100 * count / everything, 100 * total[name] / everything) for name, count in own.most_common(top)
    ]


def table(found: list[Share]) -> str:
    """For people: one line per function."""
    lines = [f"{share.self_percent:6.1f}  {share.total_percent:6.1f}  {share.function}" for share in found]
    return "\n".join(["self %  total %  function", *lines]) + "\n"


def _function(frame: str) -> str:
    """`name (file.py:12)` without the line, so that one function is one row."""
    name, _, place = frame.partition(" (")
    return f"{name} ({place.split(':')[0].rstrip(')')})" if place else name

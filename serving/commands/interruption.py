"""What ends a long command: Ctrl-C, SIGTERM and a closed terminal alike, as `KeyboardInterrupt`."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""The exit code."""


def as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """Do what Ctrl-C does at this moment: an event loop holds it, and would be left in pieces by an error anywhere."""
    handler = signal.getsignal(signal.SIGINT)
    (handler if callable(handler) else signal.default_int_handler)(number, frame)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and a closed terminal end a run as Ctrl-C does; and every connection may have its file descriptor."""
    # Where Ctrl-C is ignored, as in the background of a script, nobody holds it: a loop holds those at the default.
    ending = as_ctrl_c if callable(signal.getsignal(signal.SIGINT)) else signal.default_int_handler
    before = {number: signal.signal(number, ending) for number in (signal.SIGTERM, signal.SIGHUP)}
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

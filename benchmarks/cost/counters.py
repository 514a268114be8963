"""Three ways to count what happens inside a block of code: calls, allocations, processor time. One at a time.

Each is entered once for a whole pass (`open`) and then as often as there is something to count (`window`), which yields
a dict that is full when the window has closed. A tracer distorts time, so each of them works alone.
"""

from __future__ import annotations

import gc
import io
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

from models.errors import ConfigurationError

Figures = dict[str, float]
READ_BUFFER_BYTES = 256 * 1024
"""asyncio asks for so much at every read, and gives most of it back. uvloop, under which a gateway serves, does not."""

MEMORY_INTERVAL_MS = 60_000


class Count(Protocol):
    """One way to count. `functions`: what was called in the last window and how often; empty where that is not seen."""

    functions: Counter[str]

    def open(self) -> Any:
        """A context manager around everything, the gateway's start included."""
        ...

    def window(self) -> Any:
        """A context manager around what is counted; gives a dict of figures that is full behind it."""
        ...


class Calls:
    """Calls of Python and C functions, in every thread. A resumed coroutine is a call."""

    def __init__(self) -> None:
        self._listener = _Listener()
        self.functions: Counter[str] = Counter()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Threads that start inside are counted too."""
        threading.setprofile(self._listener)
        try:
            yield
        finally:
            threading.setprofile(None)

    @contextmanager
    def window(self) -> Iterator[Figures]:
        """Without the garbage collector: when it runs depends on everything before."""
        found: Figures = {}
        listener = self._listener
        listener.seen.clear()
        with _no_garbage_collection():
            listener.counting = True
            sys.setprofile(listener)
            try:
                yield found
            finally:
                sys.setprofile(None)
                listener.counting = False
        found["calls"] = sum(listener.seen.values())
        self.functions = Counter({_name(key): count for key, count in listener.seen.items()})


class _Listener:
    """What Python tells of every call."""

    def __init__(self) -> None:
        self.seen: Counter[CodeType | tuple[str | None, str]] = Counter()
        self.counting = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if not self.counting:
            return
        if event == "call":
            self.seen[frame.f_code] += 1
        elif event == "c_call":
            self.seen[(argument.__module__, argument.__qualname__)] += 1


class Allocations:
    """How often memory is asked for, Python's own allocator included, and how many bytes but for read buffers."""

    def __init__(self, folder: Path) -> None:
        self.functions: Counter[str] = Counter()
        self._folder = folder
        self._number = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Raises `ConfigurationError` where memray is not installed."""
        if find_spec("memray") is None:
            raise ConfigurationError("Counting allocations needs memray, which comes with the extra 'bench'.")
        yield

    @contextmanager
    def window(self) -> Iterator[Figures]:
        """Traced by memray into a file of its own."""
        import memray

        found: Figures = {}
        self._number += 1
        trace = self._folder / f"{self._number}.memray"
        with _no_garbage_collection(), ExitStack() as traced:
            with redirect_stderr(io.StringIO()):  # it warns of greenlets: those of SQLAlchemy, which rest meanwhile
                traced.enter_context(
                    memray.Tracker(trace, trace_python_allocators=True, memory_interval_ms=MEMORY_INTERVAL_MS)
                )
            yield found
        kinds = memray.AllocatorType
        # Pymalloc's arenas come and go by what was alive before; what is asked of it is counted itself.
        without = {kinds.PYMALLOC_FREE, kinds.FREE, kinds.MMAP, kinds.MUNMAP}
        with memray.FileReader(trace) as reader:
            sizes = [one.size for one in reader.get_allocation_records() if one.allocator not in without]
        trace.unlink()
        found.update(allocations=len(sizes), allocated_bytes=sum(size for size in sizes if size < READ_BUFFER_BYTES))


class ProcessorTime:
    """CPU seconds of this process, all threads, as microseconds."""

    def __init__(self) -> None:
        self.functions: Counter[str] = Counter()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Nothing to prepare."""
        yield

    @contextmanager
    def window(self) -> Iterator[Figures]:
        """Nothing is traced, and the garbage collector works as ever."""
        found: Figures = {}
        since = time.process_time()
        yield found
        found["cpu_us"] = 1e6 * (time.process_time() - since)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _name(key: CodeType | tuple[str | None, str]) -> str:
    """`folder/file.py:function`, or a C function with its module."""
    if isinstance(key, CodeType):
        return f"{'/'.join(Path(key.co_filename).parts[-2:])}:{key.co_qualname}"
    module, name = key
    return f"{module}.{name}" if module else name

"""What a person sees: answers on stdout, progress and trouble on stderr. Consoles are made per use: pipes just work."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, TextIO, cast

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

Report = Callable[[str], None]


def out() -> Console:
    """Where answers go."""
    return _console(None)


def err() -> Console:
    """Where progress, hints and errors go. Nobody may be there to read them: that ends no command."""
    return _console(cast(IO[str], _Unheard(sys.stderr)))


class _Unheard:
    """A stream that goes on when its reader has gone: a closed terminal (EIO), a closed pipe (EPIPE)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _console(file: IO[str] | None) -> Console:
    """Shows text as it is: no colours of its own, no breaks, and no picture where `:name:` was said."""
    return Console(file=file, highlight=False, soft_wrap=True, emoji=False)


def write(text: str) -> None:
    """Text on stdout, byte for byte: for programs that read it, and for answers."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_table(table: Table, *, empty: str) -> None:
    """A table of what there is; without a row the sentence, as a hint, in its place."""
    if table.row_count:
        out().print(table)
    else:
        err().print(empty, markup=False)


def print_json(value: Any) -> None:
    """One JSON object (or list) on a line of stdout."""
    write(orjson.dumps(value, default=str).decode() + "\n")


def print_problem(text: str) -> None:
    """One red sentence."""
    err().print(f"[red]{escape(text)}[/red]")


@contextmanager
def reporting() -> Iterator[Report]:
    """Lines of progress on stderr; on a terminal the current one spins and a finished one shows how long it took."""
    console = err()
    if not console.is_terminal:
        yield lambda text: console.print(text, markup=False)
        return
    with console.status("…") as status:
        steps = _Steps(console)

        def report(text: str) -> None:
            steps.next(text)
            status.update(Text(text))

        yield report
        steps.next(None)


class _Steps:
    """Prints each step when the next one begins."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._current: tuple[str, float] | None = None

    def next(self, text: str | None) -> None:
        """The current step is over; None: so is everything."""
        if self._current is not None:
            done, since = self._current
            took = time.monotonic() - since
            self._console.print(f"[green]✓[/green] {escape(done)} [dim]{took:.1f} s[/dim]")
        self._current = None if text is None else (text, time.monotonic())

"""`penstock records`: what the store knows of past calls, as a file. Owns the lines of that file.

Reads the store itself: no route of the gateway lists records. What of a call is written is `CallOutline`, and the
workload `replay` of `penstock bench` reads it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TextIO

import orjson
import typer

from models.clock import SystemClock
from models.errors import ConfigurationError, InvalidRequest, NotFound
from serving.commands.options import StateOption, environment, span_s, state_of
from serving.commands.target import store_url_of
from serving.commands.terminal import err
from serving.store.store import Store

SHOW_EVERY = 500

app = typer.Typer(help="The records of a stack's calls.", no_args_is_help=True)


@app.command()
def export(
    *,
    since: Annotated[str, typer.Option(help="Begin so long ago, such as 30m, 12h or 7d.")] = "1h",
    until: Annotated[str | None, typer.Option(help="End so long ago.", show_default="now")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many calls.", show_default="all")] = None,
    to: Annotated[Path | None, typer.Option("--out", help="A new file.", show_default="stdout")] = None,
    state_dir: StateOption = None,
) -> None:
    """Write times and sizes of calls as JSON lines, oldest first: a trace for the workload `replay`.

    Never the text of a prompt or an answer, a key, or who called.
    """
    if environment().get("PENSTOCK_URL"):
        raise ConfigurationError("Records are read only where the store is: without PENSTOCK_URL.")
    now = SystemClock().now()
    begin, end = now - span_s(since, option="since"), now - (0.0 if until is None else span_s(until, option="until"))
    if begin >= end:
        raise InvalidRequest("--since must lie before --until: both count back from now.", param="since")
    url = store_url_of(state_of(state_dir))
    with _file(to) as file, _counting(quiet=to is None and sys.stdout.isatty()) as counted:
        count = asyncio.run(_write(file, (begin, end), url=url, limit=limit, counted=counted))
    err().print(count.sentence, markup=False)


@dataclass(slots=True)
class _Count:
    """Calls that were written, and those that the engine never counted the tokens of."""

    written: int = 0
    unsized: int = 0

    @property
    def sentence(self) -> str:
        """For people."""
        left_out = f"; {self.unsized:,} of unknown size are left out: refused, failed or left early"
        return f"{self.written:,} calls are written{left_out if self.unsized else ''}."


async def _write(
    file: TextIO, span: tuple[float, float], *, url: str, limit: int | None, counted: Callable[[int], None]
) -> _Count:
    """One line per call of the span; raises `NotFound` when there is none."""
    count = _Count()
    async with Store.open(url) as store, aclosing(store.records.outlines(*span)) as found:
        async for one in found:
            if not one.prompt_tokens or not one.completion_tokens:
                count.unsized += 1
                continue
            file.write(orjson.dumps(one).decode() + "\n")
            count.written += 1
            counted(count.written)
            if count.written == limit:
                break
    file.flush()
    if not count.written:
        others = f" Of {count.unsized:,} the size is not known." if count.unsized else ""
        raise NotFound(f"No call of this span can be repeated.{others} A longer one is set with --since.")
    return count


@contextmanager
def _file(to: Path | None) -> Iterator[TextIO]:
    """Where the lines go. A new file that was not written to its end is taken away: a part would pass for the whole."""
    if to is None:
        yield sys.stdout
        return
    with to.open("x", encoding="utf-8") as file:
        try:
            yield file
        except BaseException:
            to.unlink()
            raise


@contextmanager
def _counting(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A count that goes on, where a person looks at something else than the lines themselves."""
    console = err()
    with console.status("reading") if console.is_terminal and not quiet else nullcontext() as status:

        def show(written: int) -> None:
            if status is not None and written % SHOW_EVERY == 0:
                status.update(f"{written:,} calls")

        yield show

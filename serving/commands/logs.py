"""`penstock logs`: the last lines of every log file of the stack, and what is added while one looks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from serving.commands.options import StateOption, state_of
from serving.commands.terminal import err, out

POLL_S = 0.3
TAIL_BYTES = 256 * 2**10


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each file.")] = 20,
    *,
    only: Annotated[str, typer.Option(help="Only files whose name contains this.")] = "",
    state_dir: StateOption = None,
) -> None:
    """Show what the processes of the stack have written."""
    folder = state_of(state_dir).logs
    seen: dict[Path, int] = {}
    for path in _files(folder, only):
        seen[path] = path.stat().st_size
        _show(path, _last(path, lines))
    if not seen:
        err().print(f"[dim]No log file in {escape(str(folder))} yet.[/dim]")
    while follow:
        time.sleep(POLL_S)
        for path in _files(folder, only):
            _show(path, _added(path, seen))


def _files(folder: Path, only: str) -> list[Path]:
    return sorted(path for path in folder.glob("**/*.log") if only in path.name)


def _last(path: Path, lines: int) -> list[str]:
    """The last lines, of a file of any size."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-lines:] if lines else []


def _added(path: Path, seen: dict[Path, int]) -> Iterator[str]:
    """Whole lines since the last look; a file that shrank was begun anew."""
    start = seen.get(path, 0)
    if path.stat().st_size < start:
        start = 0
    with path.open("rb") as file:
        file.seek(start)
        fresh = file.read()
    whole = fresh[: fresh.rfind(b"\n") + 1]
    seen[path] = start + len(whole)
    yield from whole.decode(errors="replace").splitlines()


def _show(path: Path, lines: list[str] | Iterator[str]) -> None:
    console = out()
    for line in lines:
        console.print(f"[dim]{path.stem}[/dim] {escape(line)}")

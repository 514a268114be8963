"""`penstock logs`: the last lines of every log file of the stack, and what is added while one looks."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from models.errors import ConfigurationError
from serving.commands.options import StateOption, state_of
from serving.commands.terminal import err, out
from serving.deploy.logs import readable, stack_logs, tail
from serving.deploy.stack import scratch_of
from serving.state import StateDir

POLL_S = 0.3
TAIL_BYTES = 256 * 2**10


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each file.")] = 20,
    *,
    only: Annotated[str, typer.Option(help="Only files whose name contains this, like `gateway` or a card.")] = "",
    state_dir: StateOption = None,
) -> None:
    """Show what gateways, engines and the start of the stack have written; without a stack, those of the last run."""
    state = state_of(state_dir)
    _tell_of_a_cluster(state)
    seen: dict[Path, int] = {}
    for name, path in _files(state, only):
        seen[path] = _size(path)
        _show(name, list(readable(_split(tail(path, TAIL_BYTES))))[-lines:] if lines else [])
    if not seen:
        err().print(f"[dim]No log file in {escape(str(state.logs))} yet.[/dim]")
    while follow:
        time.sleep(POLL_S)
        for name, path in _files(state, only):
            if path.parent != state.last_run:  # a run that has just ended; its lines were shown as they came
                _show(name, readable(_added(path, seen)))


def _files(state: StateDir, only: str) -> list[tuple[str, Path]]:
    return sorted((name, path) for name, path in stack_logs(state, scratch_of(state)).items() if only in name)


def _tell_of_a_cluster(state: StateDir) -> None:
    with suppress(ConfigurationError):
        info = state.read_stack()
        if info is not None and info.pid is None:
            where = f"on the nodes of the Ray cluster at {info.address}"
            err().print(f"What gateways and engines write is {where}: see Ray's own logs there.", markup=False)


def _size(path: Path) -> int:
    """In bytes; 0 of a file that has gone, as files do when their stack ends."""
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _added(path: Path, seen: dict[Path, int]) -> list[str]:
    """Whole lines since the last look; a file that shrank was begun anew."""
    start, size = seen.get(path, 0), _size(path)
    if size < start:
        start = 0
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(start)
        fresh = file.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        seen[path] = start + len(whole)
        return _split(whole)
    return []


def _split(text: bytes) -> list[str]:
    return text.decode(errors="replace").splitlines()


def _show(name: str, lines: Iterable[str]) -> None:
    console = out()
    for line in lines:
        console.print(f"[dim]{escape(name)}[/dim] {escape(line)}")

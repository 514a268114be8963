"""One measurement from a command line to its folder: run it, write its figures, its table and last its origin, print.

Owns the folder's files. Measures nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.origin import origin
from benchmarks.result import prepare
from models.errors import PenstockError

Work = Callable[[Progress], Awaitable[dict[str, Any]]]


class Words(Protocol):
    """A module that can put its figures into words."""

    def markdown(self, found: Mapping[str, Any], /) -> str:
        """The table and its sentences."""
        ...


@dataclass(frozen=True, slots=True)
class Story:
    """What is told. `config` and `counts` go into the origin; `packages`: further ones whose versions matter."""

    out: Path
    words: Words
    config: Mapping[str, Any]
    counts: Mapping[str, int]
    seed: int
    as_json: bool
    packages: tuple[str, ...] = ()


def tell(story: Story, work: Work) -> None:
    """Measure, write the folder with its origin last, and print. Exits with 1 and a sentence where that fails."""
    console, started = Console(stderr=True), time.time()

    async def whole() -> dict[str, Any]:
        with Progress(console=console) as progress:
            return await work(progress)

    try:
        prepare(story.out)
        found = asyncio.run(whole())
    except PenstockError as error:
        console.print(str(error), style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    beside = origin(
        config=dict(story.config),
        seeds=[story.seed],
        counts=dict(story.counts),
        started=started,
        more=story.packages,
    )
    hardware = beside["hardware"]
    where = f"Commit {beside['commit'][:12]}, {beside['started']}; {hardware['processor']}, {hardware['cores']} cores."
    table = f"{story.words.markdown(found)}\n{where}\n"
    (story.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    (story.out / "table.md").write_text(table)
    (story.out / "origin.json").write_text(json.dumps(beside, indent=1) + "\n")
    Console().print(json.dumps(found) if story.as_json else table, markup=False, highlight=False, soft_wrap=True)

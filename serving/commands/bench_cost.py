"""`penstock bench cost`: composes the gateway whose costs `benchmarks/cost` counts, and shows the result."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.cost.measure import FULL, QUICK, Served, blocks, measure
from benchmarks.cost.result import HEAD, config, summarise, table_rows, write
from benchmarks.result import prepare
from models.catalog import Catalog
from models.clock import Clock
from serving.app import GatewayParts, open_gateway
from serving.commands.options import JsonOption
from serving.commands.terminal import err, out, print_json
from serving.settings import load_settings
from serving.store.store import Store
from serving.telemetry.log import configure_log
from serving.tenancy.keys import KeyAdmin, KeySpec
from serving.testing import AsgiApp, StaticDirectory, serve

PROFILE = "cpu-demo"
CARD = "demo-small"
TOKEN = "t" * 64


@asynccontextmanager
async def open_counted(
    engine_url: str, folder: Path, *, clock: Clock, around: Callable[[AsgiApp], AsgiApp] = lambda app: app
) -> AsyncIterator[Served]:
    """The gateway of a profile with everything on: keys, records in SQLite, timers, metrics. It logs into a file."""
    settings, catalog = load_settings(PROFILE), Catalog.load(None)
    cards = {card: catalog.card(card) for card in (settings.tiers.small, settings.tiers.large)}
    store_url = f"sqlite+aiosqlite:///{folder / 'penstock.db'}"
    async with Store.open(store_url) as store:
        _, key = await KeyAdmin(store.keys, clock=clock).create(KeySpec(org="acme", user="ada"))
    parts = GatewayParts(
        settings,
        cards,
        StaticDirectory(dict.fromkeys(cards, (engine_url,))),
        engine_token=TOKEN,
        salt_key="salt",
        store_url=store_url,
        spool=str(folder / "spool"),
        clock=clock,
    )
    with (folder / "log").open("w") as log:
        try:
            async with open_gateway(parts) as app, serve(around(app), timeout_keep_alive=3600) as url:
                configure_log(stream=log)
                yield Served(int(url.rpartition(":")[2]), key, CARD)
        finally:
            structlog.reset_defaults()  # whoever else logs in this process does not do so into that file


def cost(
    *,
    to: Annotated[Path | None, typer.Option("--out", help="Folder for the result: figures, functions, origin.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Count less often, and no CPU time.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Count what a request costs in the gateway: calls, allocations, bytes, CPU time. Takes a minute or two."""
    passes, started = QUICK if quick else FULL, time.time()
    if to is not None:
        prepare(to)
    with _progress(blocks(passes)) as heard:
        samples = measure(open_counted, passes, heard=heard)
    if to is not None:
        write(to, samples, passes=passes, asked=config(passes, profile=PROFILE, model=CARD), started=started)
    if as_json:
        print_json(summarise(samples))
        return
    table = Table(*HEAD, box=None)
    for row in table_rows(summarise(samples)):
        table.add_row(*row)
    out().print(table)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    console = err()
    columns = (TextColumn("counting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)

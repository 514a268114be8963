"""`python -m benchmarks.routing_mix --target URL --out DIR`: what routing saves on a running stack, and what it costs.

A seeded mix of easy and hard demo prompts that neither the tiers nor a router were trained on goes to the small tier,
to the large one and to `auto`. One table holds `auto` as it routed live against what other ways to route would have
made of the same answers. Owns the command.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.calls import Address
from benchmarks.origin import origin
from benchmarks.quality.answers import tiers_of
from benchmarks.quality.labels import Pair
from benchmarks.quality.mix import AUTO
from benchmarks.quality.mix_report import MixReport
from benchmarks.quality.mix_run import EASY_SHARE, LEAST, SEED, MixOrder, calls, measure
from benchmarks.quality.shares import CommandShare
from benchmarks.result import prepare
from models.catalog import Catalog
from models.errors import ConfigurationError, PenstockError
from router.training.data import Columns, read_labelled

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("routing-mix")
def command(
    target: Annotated[str, typer.Option(help="The stack's URL.")],
    out: Annotated[Path, typer.Option(help="Folder of the result.")],
    *,
    key: Annotated[str, typer.Option(envvar="PENSTOCK_API_KEY", help="Its key.")],
    prompts: Annotated[int, typer.Option(min=LEAST, help="How many; 80 % of them easy.")] = 500,
    labels: Annotated[Path | None, typer.Option(help="Lines of `router label`, for the n-gram baseline.")] = None,
    shares: Annotated[str, typer.Option(help="Move the threshold for these shares, such as 0.2,0.35.")] = "",
    state_dir: Annotated[Path | None, typer.Option(help="The stack's folder; --shares needs it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the mix and the intervals.")] = SEED,
    concurrency: Annotated[int, typer.Option(min=1, help="Calls at a time.")] = 8,
) -> None:
    """Ask the mix, and write the table, the figures, every answer's outcome, and where they come from."""
    console, started = Console(stderr=True), time.time()
    try:
        prepare(out)
        address = Address(target.rstrip("/").removesuffix("/v1"), AUTO, key)
        pair, catalog = pair_of(address), Catalog.load(None if state_dir is None else state_dir / "models.yaml")
        order = MixOrder(
            address,
            pair,
            {"small": catalog.card(pair.small).price, "large": catalog.card(pair.large).price},
            prompts=prompts,
            seed=seed,
            concurrency=concurrency,
            labels=None if labels is None else read_labelled([labels], Columns()),
            shares=_shares(shares),
            set_share=None if state_dir is None else CommandShare(state_dir.absolute()),
        )
        with Progress(console=console) as progress:
            task = progress.add_task("asking", total=calls(order))
            report, outcomes = measure(order, lambda: progress.advance(task))
    except PenstockError as error:
        console.print(str(error), style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    write(out, report, outcomes=outcomes, order=order, started=started)
    console.print((out / "table.md").read_text(), markup=False, highlight=False, soft_wrap=True)


def pair_of(address: Address) -> Pair:
    """The cards of the two tiers, from the stack's list; raises where there is not one of each."""
    tiers = asyncio.run(tiers_of(address))
    if {"small", "large"} - set(tiers):
        raise ConfigurationError(f"{address.url} does not list one card per tier.")
    return Pair(tiers["small"], tiers["large"])


def write(out: Path, report: MixReport, *, outcomes: list[dict[str, Any]], order: MixOrder, started: float) -> None:
    """The result's folder; the origin last."""
    prices = {tier: price.model_dump() for tier, price in order.prices.items()}
    config = {"target": order.address.url, "models": list(order.pair), "easy_share": EASY_SHARE, "split": "held_out"}
    config |= {"prices": prices, "concurrency": order.concurrency, "shares": list(order.shares)}
    config |= {"labels_digest": None if order.labels is None else order.labels.digest}
    counts = {"prompts": report.prompts, "asked": report.asked, "labels": len(order.labels or ())}
    found = origin(config=config, seeds=[order.seed], counts=counts, started=started)
    with gzip.open(out / "prompts.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(one) + "\n" for one in outcomes)
    (out / "summary.json").write_text(json.dumps(report.as_json(), indent=1) + "\n")
    (out / "table.md").write_text(f"{report.markdown()}\n{_told(found)}\n")
    (out / "origin.json").write_text(json.dumps(found, indent=1) + "\n")


def _told(found: dict[str, Any]) -> str:
    hardware = found["hardware"]
    return f"Commit {found['commit'][:12]}, {found['started']}; {hardware['processor']}, {hardware['cores']} cores."


def _shares(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        found = (-1.0,)
    if not all(0 < share < 1 for share in found):
        raise ConfigurationError(
            f"--shares are numbers between 0 and 1 with commas, such as 0.2,0.35: not {text[:64]!r}."
        )
    return found


if __name__ == "__main__":
    app()

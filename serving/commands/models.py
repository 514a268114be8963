"""`penstock models`: what the catalog holds, what lies on this machine, and how to get the rest.

Owns the words on the terminal. Cards, files and pulls are `models.catalog`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from models.catalog import Catalog, ModelCard, ModelStore
from models.catalog.pull import Puller, Total, access_of
from serving.commands.options import JsonOption, StateOption, state_of
from serving.commands.terminal import err, out, print_json

app = typer.Typer(help="The models that this stack can serve.", no_args_is_help=True)

CardId = Annotated[str, typer.Argument(help="Id of a card, as `penstock models list` shows it.", show_default=False)]


@app.command("list")
def list_models(*, state_dir: StateOption = None, as_json: JsonOption = False) -> None:
    """Every model card: tier, source, quantization, context, price, and whether its files are here."""
    catalog, store = _open(state_dir)
    facts = [describe(card, store) for card in catalog]
    if as_json:
        print_json(facts)
    else:
        out().print(_table(facts))


@app.command()
def show(model: CardId, *, state_dir: StateOption = None, as_json: JsonOption = False) -> None:
    """One model card, whole."""
    catalog, store = _open(state_dir)
    card = catalog.card(model)
    facts = {**card.model_dump(mode="json"), "path": describe(card, store)["path"]}
    if as_json:
        print_json(facts)
    else:
        out().print(yaml.safe_dump(facts, sort_keys=False).rstrip(), markup=False)


@app.command()
def pull(model: CardId, *, state_dir: StateOption = None) -> None:
    """Fetch the files of a model and check them. A pull that was cut resumes. Reads HF_TOKEN or HF_TOKEN_PATH."""
    catalog, store = _open(state_dir)
    card = catalog.card(model)
    state_of(state_dir).create()
    with _progress(card.id) as started:
        folder = Puller(store, access_of(os.environ)).pull(card, started)
    err().print(f"Model {card.id!r} is complete.", markup=False)
    out().print(str(folder), markup=False)


def describe(card: ModelCard, store: ModelStore) -> dict[str, Any]:
    """What `list --json` says of a card. `path` is null until an engine could start from it."""
    found = store.find(card)
    return {
        "id": card.id,
        "tier": card.tier,
        "description": card.description,
        "source": card.source.model_dump(mode="json"),
        "quantization": card.quantization.method,
        "parameters": card.parameters,
        "weight_bytes": card.weight_bytes,
        "context": card.context,
        "price": card.price.model_dump(mode="json"),
        "licence": card.licence,
        "path": None if found is None else str(found),
    }


def _open(state_dir: Path | None) -> tuple[Catalog, ModelStore]:
    state = state_of(state_dir)
    return Catalog.load(state.cards), ModelStore(state.models)


def _table(facts: list[dict[str, Any]]) -> Table:
    table = Table("model", "tier", "from", "weights", "GB", "context", "$/M in", "$/M out", "here", box=None)
    for fact in facts:
        price = fact["price"]
        table.add_row(
            fact["id"],
            fact["tier"],
            fact["source"]["kind"],
            fact["quantization"],
            f"{fact['weight_bytes'] / 1e9:.2f}",
            f"{fact['context']:,}",
            f"{price['input_micro_usd'] / 1e6:g}",
            f"{price['output_micro_usd'] / 1e6:g}",
            "yes" if fact["path"] else "no",
        )
    return table


@contextmanager
def _progress(name: str) -> Iterator[Total]:
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err()) as progress:

        def started(total: int) -> Any:
            task = progress.add_task(name, total=total)
            return lambda count: progress.advance(task, count)

        yield started

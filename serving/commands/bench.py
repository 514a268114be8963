"""`penstock bench`: measure an OpenAI-compatible server, ours or any other. What is done: `benchmarks/bench.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.bench import BenchOrder, Outcome, bench
from benchmarks.calls import Call
from benchmarks.result import HEAD, latency_rows, sentences
from benchmarks.suite import Load, load_suite, suite_names
from serving.commands.options import JsonOption, StateOption, environment, state_of
from serving.commands.target import target_of
from serving.commands.terminal import err, out, print_json

INTERRUPTED = 130

app = typer.Typer(help="Measure an OpenAI-compatible server.", no_args_is_help=True)


@app.command("suites")
def suites(*, as_json: JsonOption = False) -> None:
    """List the suites that ship with the project."""
    found = {name: load_suite(name) for name in suite_names()}
    if as_json:
        print_json({name: {"about": one.about, "sizes": list(one.sizes)} for name, one in found.items()})
        return
    table = Table("suite", "sizes", "what it stands for", box=None)
    for name, one in found.items():
        table.add_row(name, ", ".join(one.sizes), one.about)
    out().print(table)


@app.command("run")
def run(
    suite: Annotated[str, typer.Argument(help="Name of a shipped suite, or a YAML file.")],
    *,
    target: Annotated[str | None, typer.Option(help="The server's URL.", show_default="your stack")] = None,
    key: Annotated[str | None, typer.Option(help="Its key.", envvar="PENSTOCK_API_KEY")] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask.", show_default="the first it lists")] = None,
    size: Annotated[str, typer.Option(help="Size of the suite: cpu or gpu in the shipped ones.")] = "cpu",
    to: Annotated[Path | None, typer.Option("--out", help="Folder for the result: raw calls, figures, origin.")] = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Send a suite, and show latency, throughput and goodput."""
    read = load_suite(suite)
    load = read.size(size)
    if target is None:
        stack = target_of(state_of(state_dir), environment())
        target, key = stack.url, key or stack.key
    order = BenchOrder(Path(suite).stem, read, size, target, key, model, to)
    with _progress(load) as progress:
        outcome = bench(order, heard=progress)
    if as_json:
        print_json(outcome.as_json())
    else:
        _show(outcome)
    if outcome.stopped is not None:
        raise typer.Exit(INTERRUPTED if outcome.stopped == "interrupted" else 1)


class _Shown:
    """Counts calls on a bar: of so many requests, or without an end where time sets it."""

    def __init__(self, progress: Progress, load: Load) -> None:
        self._progress = progress
        self._task = progress.add_task("sending", total=load.requests)
        self._failed = 0

    def __call__(self, call: Call) -> None:
        self._failed += call.error is not None
        failed = f", {self._failed} failed" if self._failed else ""
        self._progress.update(self._task, advance=1, description=f"sending{failed}")


@contextmanager
def _progress(load: Load) -> Iterator[_Shown]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = err()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Shown(progress, load)


def _show(outcome: Outcome) -> None:
    console = out()
    table = Table(*HEAD, box=None)
    for row in latency_rows(outcome.metrics):
        table.add_row(*row)
    console.print(f"Model {outcome.address.model}", markup=False)
    console.print(table)
    for sentence in sentences(outcome.metrics, stopped=outcome.stopped):
        console.print(sentence, markup=False)

"""`penstock bench`: measure an OpenAI-compatible server, ours or any other. What is done: `benchmarks/bench.py`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.bench import BenchOrder, Outcome, bench
from benchmarks.calls import Call
from benchmarks.gate import Condition, Stored, judge
from benchmarks.gate_defaults import advises, blocks
from benchmarks.knee import HEAD as KNEE_HEAD
from benchmarks.knee import KneeOrder, find_knee, trial_row
from benchmarks.knee import sentences as knee_sentences
from benchmarks.report import write_report
from benchmarks.result import HEAD, latency_rows, sentences
from benchmarks.suite import Load, Slo, Suite, load_suite, seconds, suite_names
from models.errors import ConfigurationError
from serving.commands.bench_compare import app as compare_app
from serving.commands.bench_cost import cost
from serving.commands.interruption import INTERRUPTED, interruptible
from serving.commands.options import JsonOption, StateOption, environment, state_of
from serving.commands.target import target_of
from serving.commands.terminal import err, out, print_json

TargetOption = Annotated[str | None, typer.Option(help="The server's URL.", show_default="your stack")]
KeyOption = Annotated[str | None, typer.Option(help="Its key.", envvar="PENSTOCK_API_KEY")]
ModelOption = Annotated[str | None, typer.Option(help="Model to ask.", show_default="the first it lists")]
SizeOption = Annotated[str, typer.Option(help="Size of the suite: cpu or gpu in the shipped ones.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Of texts and times.", show_default="another each run")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for the result: raw calls, figures, origin.")]
SuiteArgument = Annotated[str, typer.Argument(help="Name of a shipped suite, or a YAML file.")]

app = typer.Typer(help="Measure an OpenAI-compatible server.", no_args_is_help=True)
app.add_typer(compare_app)
app.command("cost")(cost)


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
    suite: SuiteArgument,
    *,
    target: TargetOption = None,
    key: KeyOption = None,
    model: ModelOption = None,
    size: SizeOption = "cpu",
    seed: SeedOption = None,
    to: OutOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Send a suite, and show latency, throughput and goodput."""
    url, used = _server(target, key, state_dir=state_dir)
    order = BenchOrder(Path(suite).stem, read := load_suite(suite), size, url, _seed(seed, read), used, model, to)
    with interruptible(), _progress(order.load) as progress:
        outcome = bench(order, heard=progress)
    if as_json:
        print_json(outcome.as_json())
    else:
        _show(outcome)
    if outcome.stopped is not None:
        raise typer.Exit(INTERRUPTED if outcome.stopped == "interrupted" else 1)


@app.command("slo")
def slo(
    suite: SuiteArgument,
    *,
    ttft: Annotated[str | None, typer.Option(help="Limit of the time to the first token: 500ms.")] = None,
    tpot: Annotated[str | None, typer.Option(help="Limit of the time per token after it: 30ms.")] = None,
    e2e: Annotated[str | None, typer.Option(help="Limit of the whole answer: 5s.")] = None,
    goodput: Annotated[float, typer.Option(min=0.01, max=1, help="Share of requests that must meet them.")] = 0.99,
    trial: Annotated[str, typer.Option(help="How long one trial sends; longer for fewer than 50 requests.")] = "30s",
    start: Annotated[float, typer.Option(min=0.05, help="Requests per second of the first trial.")] = 1.0,
    least: Annotated[float, typer.Option(min=0.001, help="Lowest rate that is tried.")] = 0.05,
    most: Annotated[float, typer.Option(min=0.05, max=10_000, help="Highest rate that is tried.")] = 1000.0,
    precision: Annotated[
        float, typer.Option(min=0.01, max=0.5, help="Width of the bracket that is good enough.")
    ] = 0.05,
    target: TargetOption = None,
    key: KeyOption = None,
    model: ModelOption = None,
    size: SizeOption = "cpu",
    seed: SeedOption = None,
    to: OutOption = None,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Find the highest request rate that still meets an objective."""
    objective = _objective(ttft, tpot, e2e=e2e)
    url, used = _server(target, key, state_dir=state_dir)
    order = BenchOrder(Path(suite).stem, read := load_suite(suite), size, url, _seed(seed, read), used, model, to)
    search = KneeOrder(
        order, objective, goodput, seconds(trial), max(least, min(start, most)), (least, most), precision
    )
    console = err()
    console.print("  ".join(f"{name:>10}" for name in KNEE_HEAD))
    with interruptible(), console.status("searching") if console.is_terminal else nullcontext():
        found = find_knee(
            search, heard=lambda one: console.print("  ".join(f"{cell:>10}" for cell in trial_row(one)), markup=False)
        )
    if as_json:
        print_json(found.as_json())
    else:
        for line in knee_sentences(found, goodput=goodput):
            out().print(line, markup=False)
    if found.stopped is not None or found.knee.rate is None:
        raise typer.Exit(INTERRUPTED if found.stopped == "interrupted" else 1)


@app.command("gate")
def gate(
    result: Annotated[Path, typer.Argument(help="Folder of `bench run --out` or `bench cost --out`.")],
    *,
    baseline: Annotated[Path, typer.Option(help="Folder of the result to compare with.")],
    fail_if: Annotated[list[str] | None, typer.Option(help="'ttft_ms_p50 > 1.10x' or 'errors > 0'; repeat it.")] = None,
    warn_if: Annotated[list[str] | None, typer.Option(help="The same, and the exit code stays 0.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A warning fails too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare a result with a baseline; exit code 1 when a condition is met.

    Without a condition, costs that are counted fail and times warn.
    """
    run, base = Stored.read(result), Stored.read(baseline)
    blocking = [Condition.read(text) for text in fail_if] if fail_if else blocks(run, base)
    advising = [Condition.read(text) for text in warn_if or ()] if fail_if or warn_if else advises(run, base)
    verdicts = judge(run, base, conditions=blocking, warnings=advising)
    failed = any(one.failed or (strict and one.warned) for one in verdicts)
    if as_json:
        print_json({"failed": failed, "conditions": [asdict(one) for one in verdicts]})
    else:
        for one in verdicts:
            style = "red" if one.failed else "yellow" if one.warned else None
            out().print(one.sentence, markup=False, style=style)
    if failed:
        raise typer.Exit(1)


@app.command("report")
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of `bench run`, `slo` or `compare`, of one kind.")],
    *,
    to: Annotated[
        Path | None, typer.Option("--out", help="The page.", show_default="report.html in the first folder")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make one HTML page of stored results, with charts, and a Markdown text beside it."""
    written = write_report(folders, out=to)
    if as_json:
        print_json(written.as_json())
    else:
        out().print(f"{written.html}\n{written.markdown}", markup=False)


def _seed(given: int | None, suite: Suite) -> int:
    """The one that was asked for, the suite's own, or a new one."""
    fixed = given if given is not None else suite.seed
    return fixed if fixed is not None else secrets.randbelow(2**31)


def _objective(ttft: str | None, tpot: str | None, *, e2e: str | None) -> Slo:
    """The limits of the command line as an objective."""
    given = {"ttft_ms": ttft, "tpot_ms": tpot, "e2e_ms": e2e}
    limits = {name: 1000 * seconds(text) for name, text in given.items() if text is not None}
    if not limits or not all(limits.values()):
        raise ConfigurationError("Set an objective above zero: --ttft 500ms, --tpot 30ms, --e2e 5s.")
    return Slo.model_validate({"name": "asked", **limits})


def _server(target: str | None, key: str | None, *, state_dir: Path | None) -> tuple[str, str | None]:
    """The server that was named, or the stack of the state folder with a key of the command line's own."""
    if target is not None:
        return target, key
    stack = target_of(state_of(state_dir), environment())
    return stack.url, key or stack.key


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
    console.print(outcome.address.title, markup=False)
    console.print(table)
    for line in sentences(outcome.metrics, stopped=outcome.stopped):
        console.print(line, markup=False)

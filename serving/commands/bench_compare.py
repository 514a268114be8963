"""`penstock bench compare`: servers side by side in one run. What is done: `benchmarks/compare.py`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.arms import ArmFailed
from benchmarks.compare import CompareOrder, compare
from benchmarks.comparison import Unequal
from benchmarks.schedule import Point
from benchmarks.stored import HEAD, changes
from benchmarks.suite import load_suite
from benchmarks.summary import markdown
from models.errors import ConfigurationError, PenstockError
from serving.commands.interruption import INTERRUPTED, interruptible
from serving.commands.options import JsonOption, ProfileOption, StateOption, environment, profile_of, state_of
from serving.commands.terminal import err, out, print_json

ARMS = ("bare-vllm", "penstock")
MOCK = "mock"
SUITE = "data-plane"


app = typer.Typer()


@app.command("compare")
def compare_servers(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="A suite to measure, or two folders of results.", show_default="data-plane"),
    ] = None,
    *,
    to: Annotated[Path | None, typer.Option("--out", help="Folder for the result; needed to measure.")] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(help="A server to start, penstock@REVISION, or NAME=URL of one that runs; repeat it."),
    ] = None,
    engine: Annotated[str, typer.Option(help="Card of the model under test, or `mock`: fixed times.")] = "demo-large",
    clients: Annotated[str, typer.Option(help="Numbers of clients, with commas.")] = "1,16,64",
    half_saturation: Annotated[
        bool, typer.Option(help="Also at half of the rate at which each arm saturates, the reference beside it.")
    ] = False,
    repetitions: Annotated[int, typer.Option(min=1, help="Rounds over all arms.")] = 5,
    null: Annotated[bool, typer.Option(help="Measure the reference twice, to show the noise.")] = True,
    profile: ProfileOption = None,
    size: Annotated[str, typer.Option(help="Size of the suite: cpu or gpu in the shipped ones.")] = "cpu",
    key: Annotated[str | None, typer.Option(help="Key of a NAME=URL arm.", envvar="PENSTOCK_API_KEY")] = None,
    profile_gateway: Annotated[bool, typer.Option(help="Also sample the gateway under 16 clients.")] = False,
    as_json: JsonOption = False,
    state_dir: StateOption = None,
) -> None:
    """Start servers of one engine and measure them in turn: ratios with intervals, in one run.

    With --state-dir the Penstock arm is the stack that runs there. With two folders of `bench run` or `bench compare`
    nothing is measured: their figures are held against each other.
    """
    suite, *others = what or [SUITE]
    if others:
        _show_stored([suite, *others], as_json=as_json)
        return
    if to is None:
        raise ConfigurationError("Name a folder for the result: --out DIR.")
    order = CompareOrder(
        name=Path(suite).stem,
        suite=load_suite(suite),
        size=size,
        arms=tuple(arm or ARMS),
        out=to,
        environment=environment(),
        card="demo-large" if engine == MOCK else engine,
        mock=engine == MOCK,
        profile=profile_of(profile, state_of(state_dir)),
        state_dir=state_dir and state_dir.absolute(),  # the arms start in another folder
        key=key,
        points=_points(clients),
        repetitions=repetitions,
        null=null,
        half_saturation=half_saturation,
        profile_gateway=profile_gateway,
    )
    _measure(order, as_json=as_json)


def _measure(order: CompareOrder, *, as_json: bool) -> None:
    with interruptible():
        try:
            summary = compare(order, err())
        except (ArmFailed, Unequal) as error:
            raise PenstockError(str(error)) from error
    if as_json:
        print_json(summary.as_json())
    else:
        out().print(markdown(summary), markup=False, highlight=False, soft_wrap=True)
    if summary.stopped is not None or summary.failed:
        raise typer.Exit(INTERRUPTED if summary.stopped else 1)


def _show_stored(names: list[str], *, as_json: bool) -> None:
    if len(names) != 2:
        raise ConfigurationError("Name one suite, or two folders of results.")
    found = changes(*map(Path, names))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    table = Table(*HEAD, box=None)
    for one in found:
        table.add_row(*one.as_row())
    out().print(table)


def _points(text: str) -> tuple[Point, ...]:
    counts = [part.strip() for part in text.split(",") if part.strip()]
    if not counts or not all(part.isdigit() and int(part) > 0 for part in counts):
        raise ConfigurationError(f"{text!r} names no numbers of clients. Write 1,16,64.")
    return tuple(Point(clients=int(part)) for part in dict.fromkeys(counts))

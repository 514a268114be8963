"""`python -m benchmarks.knee_check --target URL --out DIR`: does `bench slo` find what a fine sweep finds?

First the search, then a plain run (`bench run`) at every rate of a grid around its answer, in rounds of shuffled order.
The sweep's knee is the highest rate that met the objective, together with all below it, in the median of the rounds.
The two share the client and nothing of how they look. Owns the command.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from benchmarks.bench import BenchOrder, bench, config, probed
from benchmarks.knee import Found, KneeOrder, find_knee, sentences
from benchmarks.origin import origin
from benchmarks.result import markdown_table
from benchmarks.suite import Slo, Suite, load_suite
from benchmarks.workloads.poisson import Settings as Poisson
from models.errors import PenstockError

SEED = 20_261_125
OBJECTIVE = Slo.model_validate({"name": "chat", "ttft_ms": 200, "tpot_ms": 50})
GOODPUT = 0.95
PRECISION = 0.05
SPAN, STEP = 0.15, 0.025  # of the found rate: how far to both sides, how fine
HEAD = ("requests/s", "share of good requests by round", "median", "")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class CheckFailed(Exception):
    """There is nothing to compare: the search found no knee, or a run did not come to its end."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What the sweep saw at one rate, round by round."""

    rate: float
    shares: tuple[float, ...]

    @property
    def met(self) -> bool:
        """Whether the median of the rounds met the objective."""
        return median(self.shares) >= GOODPUT


@app.command()
def command(
    target: Annotated[str, typer.Option(help="The server's URL.")],
    out: Annotated[Path, typer.Option(help="Folder of the result.")],
    *,
    key: Annotated[str, typer.Option(envvar="PENSTOCK_API_KEY", help="Its key.")],
    suite: Annotated[str, typer.Option(help="Suite whose requests are sent.")] = "chat-short",
    start: Annotated[float, typer.Option(min=0.05, help="Requests per second of the first trial.")] = 20.0,
    trial_s: Annotated[float, typer.Option(min=1, help="Seconds of one trial, and of one run of the sweep.")] = 20.0,
    rounds: Annotated[int, typer.Option(min=1, help="Runs at every rate of the sweep.")] = 3,
) -> None:
    """Search the knee, sweep around it, and write both and how far they lie apart."""
    console, started = Console(stderr=True), time.time()
    order = BenchOrder(suite, load_suite(suite), "cpu", target, SEED, key=key)
    searched = KneeOrder(order, OBJECTIVE, GOODPUT, trial_s, start, (0.05, 1000.0), PRECISION)
    try:
        settings = config(order, probed(order))
        found = find_knee(searched, heard=lambda trial: console.print(f"{trial.rate:.2f}/s: {trial.share:.1%}"))
        if found.knee.rate is None or found.stopped is not None:
            raise CheckFailed(" ".join(sentences(found, goodput=GOODPUT)))
        swept = _sweep(order, found.knee.rate, trial_s=trial_s, rounds=rounds, console=console)
    except (CheckFailed, PenstockError) as error:
        console.print(str(error), style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    counts = {"trials": len(found.knee.trials), "runs": rounds * len(swept)}
    asked = {**settings, "objective": OBJECTIVE.model_dump(mode="json"), "goodput": GOODPUT, "trial_s": trial_s}
    _write(out, found, swept=swept, source=origin(config=asked, seeds=[SEED], counts=counts, started=started))
    console.print((out / "table.md").read_text(), markup=False, highlight=False)


def swept_knee(rates: list[Rate]) -> float | None:
    """The highest rate that met the objective together with all below it; None when the lowest did not."""
    best = None
    for one in sorted(rates, key=lambda one: one.rate):
        if not one.met:
            break
        best = one.rate
    return best


def grid(rate: float) -> list[float]:
    """The rates of the sweep, evenly around the found one."""
    steps = round(SPAN / STEP)
    return [rate * (1 + STEP * number) for number in range(-steps, steps + 1)]


def _sweep(order: BenchOrder, rate: float, *, trial_s: float, rounds: int, console: Console) -> list[Rate]:
    rates = grid(rate)
    shuffled = random.Random(SEED)
    runs = [(number, one) for number in range(rounds) for one in shuffled.sample(rates, len(rates))]
    shares: dict[float, list[float]] = {one: [] for one in rates}
    for number, (_, one) in enumerate(track(runs, console=console, description="sweep")):
        outcome = bench(_run(order, one, trial_s=trial_s, seed=SEED + 7 * (number + 1)), heard=lambda _: None)
        if outcome.stopped is not None:
            raise CheckFailed(f"The sweep ended early: {outcome.stopped}.")
        (goodput,) = outcome.metrics.goodput
        shares[one].append(goodput.share)
    return [Rate(one, tuple(seen)) for one, seen in shares.items()]


def _run(order: BenchOrder, rate: float, *, trial_s: float, seed: int) -> BenchOrder:
    changed = {"workload": Poisson(rate=rate), "requests": None, "duration_s": trial_s, "warm_up_s": 0.0}
    load = order.load.model_copy(update=changed)
    suite = order.suite.model_copy(update={"slos": (OBJECTIVE,), "sizes": {order.size: load}})
    return replace(order, suite=Suite.model_validate(suite.model_dump()), seed=seed)


def _write(out: Path, found: Found, *, swept: list[Rate], source: dict[str, object]) -> None:
    by_search, by_sweep = found.knee.rate, swept_knee(swept)
    assert by_search is not None
    apart = None if by_sweep is None else by_search / by_sweep - 1
    summary = {
        "search": found.as_json(),
        "sweep": [asdict(one) for one in swept],
        "search_rate": by_search,
        "sweep_rate": by_sweep,
        "apart": apart,
    }
    limits = f"{OBJECTIVE.ttft_ms:.0f} ms to the first token and {OBJECTIVE.tpot_ms:.0f} ms per token after it"
    verdict = (
        f"The search found {by_search:.1f} requests/s; the sweep's lowest rate already fails."
        if by_sweep is None or apart is None
        else f"The search found {by_search:.1f} requests/s, the sweep {by_sweep:.1f}: {apart:+.1%} apart."
    )
    out.mkdir(parents=True, exist_ok=True)
    table = markdown_table(HEAD, map(_cells, swept))
    objective = f"Objective: {limits} for {GOODPUT:.0%} of the requests."
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (out / "table.md").write_text(f"{table}\n\n{verdict} {objective}\n")
    (out / "origin.json").write_text(json.dumps(source, indent=1) + "\n")


def _cells(one: Rate) -> tuple[str, ...]:
    shares = ", ".join(f"{share:.1%}" for share in one.shares)
    return (f"{one.rate:.2f}", shares, f"{median(one.shares):.1%}", "met" if one.met else "not met")


if __name__ == "__main__":
    app()

"""`python -m benchmarks.knee_check --target URL --out DIR`: does `bench slo` find what a fine sweep finds?

In rounds, because a shared machine drifts: a search, then at once a plain run (`bench run`) at every rate of a grid
around the first search's answer, in shuffled order. The sweep's knee of a round is the rate that parts its runs best:
as many as possible at or below it met the objective, as many as possible above it did not. The two share the client and
nothing of how they look. Owns the command.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
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
SPAN, STEP = 0.20, 0.04  # of the first search's rate: how far to both sides, how fine
HEAD = ("round", "search", "sweep", "apart", "share of good requests at each rate of the sweep")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class CheckFailed(Exception):
    """There is nothing to compare: the search found no knee, or a run did not come to its end."""


@dataclass(frozen=True, slots=True)
class Round:
    """One search, and the sweep behind it: rate (requests per second) → share of good requests."""

    found: Found
    shares: Mapping[float, float]

    @property
    def search(self) -> float:
        """The search's knee."""
        assert self.found.knee.rate is not None
        return self.found.knee.rate

    @property
    def sweep(self) -> float | None:
        """The sweep's knee; None where it lies outside of the sweep."""
        return swept_knee(self.shares)

    @property
    def apart(self) -> float | None:
        """How far the search lies above the sweep, as a share of the sweep."""
        return None if self.sweep is None else self.search / self.sweep - 1


@app.command()
def command(
    target: Annotated[str, typer.Option(help="The server's URL.")],
    out: Annotated[Path, typer.Option(help="Folder of the result.")],
    *,
    key: Annotated[str, typer.Option(envvar="PENSTOCK_API_KEY", help="Its key.")],
    suite: Annotated[str, typer.Option(help="Suite whose requests are sent.")] = "chat-short",
    start: Annotated[float, typer.Option(min=0.05, help="Requests per second of the first trial.")] = 20.0,
    trial_s: Annotated[float, typer.Option(min=1, help="Seconds of one trial, and of one run of the sweep.")] = 20.0,
    rounds: Annotated[int, typer.Option(min=1, help="Searches, each with its sweep.")] = 3,
) -> None:
    """Search the knee, sweep around it, and write both and how far they lie apart."""
    console, started = Console(stderr=True), time.time()
    order = BenchOrder(suite, load_suite(suite), "cpu", target, SEED, key=key)
    done: list[Round] = []
    try:
        asked = {**config(order, probed(order)), "objective": OBJECTIVE.model_dump(mode="json"), "goodput": GOODPUT}
        for one in _rounds(order, rounds, start=start, trial_s=trial_s, console=console):
            done.append(one)
            counts = {"rounds": len(done), "runs": sum(len(each.shares) for each in done)}
            settings = {**asked, "trial_s": trial_s, "rounds": rounds}
            _write(out, done, source=origin(config=settings, seeds=[SEED], counts=counts, started=started))
    except (CheckFailed, PenstockError) as error:
        console.print(str(error), style="bold red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    console.print((out / "table.md").read_text(), markup=False, highlight=False)


def _rounds(order: BenchOrder, rounds: int, *, start: float, trial_s: float, console: Console) -> Iterator[Round]:
    rates: list[float] = []
    for number in range(rounds):
        seeded = replace(order, seed=SEED + 1_000_000 * number)
        searched = KneeOrder(seeded, OBJECTIVE, GOODPUT, trial_s, start, (0.05, 1000.0), PRECISION)
        found = find_knee(searched, heard=lambda trial: console.print(f"{trial.rate:.2f}/s: {trial.share:.1%}"))
        if found.knee.rate is None or found.stopped is not None:
            raise CheckFailed(" ".join(sentences(found, goodput=GOODPUT)))
        rates = rates or grid(found.knee.rate)
        yield Round(found, _sweep(seeded, rates, trial_s=trial_s, console=console))


def swept_knee(shares: Mapping[float, float]) -> float | None:
    """The rate that parts the runs best into met and not met, the middle one of several that do so equally well.

    None when it lies outside: with every run not met (or met) below (or above) the sweep as good an answer.
    """

    def agreeing(knee: float) -> int:
        return sum((share >= GOODPUT) == (rate <= knee) for rate, share in shares.items())

    most = max(map(agreeing, (0.0, *shares)))
    best = [rate for rate in (0.0, *shares) if agreeing(rate) == most]
    return None if 0.0 in best or max(shares) in best else median(best)


def grid(rate: float) -> list[float]:
    """The rates of the sweep, evenly around the found one."""
    steps = round(SPAN / STEP)
    return [rate * (1 + STEP * number) for number in range(-steps, steps + 1)]


def _sweep(order: BenchOrder, rates: list[float], *, trial_s: float, console: Console) -> dict[float, float]:
    shuffled = random.Random(order.seed).sample(rates, len(rates))
    shares: dict[float, float] = {}
    for number, rate in enumerate(track(shuffled, console=console, description="sweep")):
        outcome = bench(_run(order, rate, trial_s=trial_s, seed=order.seed + 7 * (number + 1)), heard=lambda _: None)
        if outcome.stopped is not None:
            raise CheckFailed(f"The sweep ended early: {outcome.stopped}.")
        (goodput,) = outcome.metrics.goodput
        shares[rate] = goodput.share
    return dict(sorted(shares.items()))


def _run(order: BenchOrder, rate: float, *, trial_s: float, seed: int) -> BenchOrder:
    changed = {"workload": Poisson(rate=rate), "requests": None, "duration_s": trial_s, "warm_up_s": 0.0}
    load = order.load.model_copy(update=changed)
    suite = order.suite.model_copy(update={"slos": (OBJECTIVE,), "sizes": {order.size: load}})
    return replace(order, suite=Suite.model_validate(suite.model_dump()), seed=seed)


def _write(out: Path, rounds: list[Round], *, source: dict[str, object]) -> None:
    known = [one.apart for one in rounds if one.apart is not None]
    apart = median(known) if known else None
    summary = {
        "apart": apart,
        "rounds": [
            {"search": one.search, "sweep": one.sweep, "apart": one.apart, "found": one.found.as_json()}
            | {"shares": [{"rate": rate, "share": share} for rate, share in one.shares.items()]}
            for one in rounds
        ],
    }
    limits = f"{OBJECTIVE.ttft_ms:.0f} ms to the first token and {OBJECTIVE.tpot_ms:.0f} ms per token after it"
    said = (
        f"Search and sweep lie {_percent(apart)} apart (median over {len(known)} of {len(rounds)} rounds). "
        f"Objective: {limits} for {GOODPUT:.0%} of the requests."
    )
    out.mkdir(parents=True, exist_ok=True)
    table = markdown_table(HEAD, (_cells(number, one) for number, one in enumerate(rounds, 1)))
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (out / "table.md").write_text(f"{table}\n\n{said}\n")
    (out / "origin.json").write_text(json.dumps(source, indent=1) + "\n")


def _cells(number: int, one: Round) -> tuple[str, ...]:
    shares = ", ".join(f"{rate:.1f}: {share:.0%}" for rate, share in one.shares.items())
    sweep = "outside" if one.sweep is None else f"{one.sweep:.1f}/s"
    return (str(number), f"{one.search:.1f}/s", sweep, _percent(one.apart), shares)


def _percent(apart: float | None) -> str:
    return "unknown" if apart is None else f"{apart:+.1%}"


if __name__ == "__main__":
    app()

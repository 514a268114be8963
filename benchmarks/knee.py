"""`penstock bench slo`: from the first probe over the search to the written knee.

Owns the story of a search and its words. The search itself is `slo_search.py`, a trial `trials.py`.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.bench import BenchOrder, config, probed
from benchmarks.calls import Call
from benchmarks.origin import origin
from benchmarks.slo_search import Knee, Search, Trial
from benchmarks.suite import Slo
from benchmarks.trials import Trials

HEAD = ("requests/s", "due", "good", "share", "")


@dataclass(frozen=True, slots=True)
class KneeOrder:
    """What is searched: the objective, the share of requests that must meet it, and how hard to look."""

    run: BenchOrder
    slo: Slo
    goodput: float
    trial_s: float
    start: float
    between: tuple[float, float]
    precision: float


def find_knee(order: KneeOrder, *, heard: Callable[[Trial], None], called: Callable[[Call], None]) -> tuple[Knee, bool]:
    """The knee, and whether the search came to its end; Ctrl-C keeps what is known by then."""
    run, started, complete = order.run, time.time(), True
    address = probed(run)
    trials = Trials(address, run.load, order.slo, order.goodput, order.trial_s, run.suite.seed, called)
    search = Search(trials, start=order.start, between=order.between, precision=order.precision)
    try:
        for trial in search.steps():
            heard(trial)
    except KeyboardInterrupt:
        complete = False
    if run.out is not None:
        counts = {"trials": len(search.knee.trials), "requests": sum(len(calls) for _, calls in trials.calls)}
        asked = {**config(run, address), **_asked(order)}
        found = origin(config=asked, seeds=[run.suite.seed], counts=counts, started=started)
        _write(run.out, search.knee, complete=complete, goodput=order.goodput)
        _write_calls(run.out / "calls.jsonl.gz", trials)
        (run.out / "origin.json").write_text(json.dumps({**found, "complete": complete}, indent=1) + "\n")
    return search.knee, complete


def rows(knee: Knee) -> Iterator[tuple[str, ...]]:
    """One row per trial, in the order of `HEAD`."""
    yield from (trial_row(trial) for trial in knee.trials)


def trial_row(trial: Trial) -> tuple[str, ...]:
    """A trial as people read it."""
    end = "met" if trial.met else f"not met{f' ({trial.why}: given up)' if trial.why else ''}"
    return (f"{trial.rate:.2f}", str(trial.due), str(trial.good), f"{trial.share:.1%}", end)


def sentence(knee: Knee, *, complete: bool, goodput: float) -> str:
    """The answer."""
    if not complete:
        return "Not complete: interrupted."
    if knee.rate is None:
        return f"No rate was found at which {goodput:.1%} of the requests meet the objective, twice."
    text = f"The knee: {knee.rate:.2f} requests/s meet the objective for {goodput:.1%} of the requests, twice"
    if knee.fails_at is None:
        return f"{text}; no higher rate was tried."
    return f"{text}; {knee.fails_at:.2f} requests/s do not."


def _asked(order: KneeOrder) -> dict[str, object]:
    numbers = {"goodput": order.goodput, "trial_s": order.trial_s, "start": order.start, "between": order.between}
    return {"objective": order.slo.model_dump(mode="json"), **numbers, "precision": order.precision}


def _write(out: Path, knee: Knee, *, complete: bool, goodput: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "origin.json").unlink(missing_ok=True)
    (out / "summary.json").write_text(json.dumps({"complete": complete, **asdict(knee)}, indent=1) + "\n")
    lines = [HEAD, ("---",) * len(HEAD), *rows(knee)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in lines)
    (out / "table.md").write_text(f"{table}\n\n{sentence(knee, complete=complete, goodput=goodput)}\n")


def _write_calls(file: Path, trials: Trials) -> None:
    with gzip.open(file, "wt", encoding="utf-8") as raw:
        for number, (rate, calls) in enumerate(trials.calls):
            raw.writelines(json.dumps({"trial": number, "rate": rate, **asdict(call)}) + "\n" for call in calls)

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
from benchmarks.metrics import LAG_LIMIT_MS
from benchmarks.origin import origin
from benchmarks.result import markdown_table
from benchmarks.slo_search import Knee, Search, Trial
from benchmarks.suite import Slo
from benchmarks.trials import TrialFailed, Trials

HEAD = ("requests/s", "due", "good", "share", "")
INTERRUPTED = "interrupted"


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


@dataclass(frozen=True, slots=True)
class Found:
    """The knee. `stopped` is the reason when the search did not come to its end."""

    knee: Knee
    stopped: str | None

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {"stopped": self.stopped, **asdict(self.knee)}


def find_knee(order: KneeOrder, *, heard: Callable[[Trial], None]) -> Found:
    """Search and write; Ctrl-C and a server that goes away keep what is known by then."""
    run, started, stopped = order.run, time.time(), None
    address = probed(run)
    trials = Trials(address, run.load, order.slo, order.goodput, order.trial_s, run.seed)
    search = Search(trials, start=order.start, between=order.between, precision=order.precision)
    try:
        for trial in search.steps():
            heard(trial)
    except KeyboardInterrupt:
        stopped = INTERRUPTED
    except TrialFailed as failure:
        stopped = str(failure)
    if stopped is None and not search.knee.ended:
        stopped = f"no end after {len(search.knee.trials)} trials"
    found = Found(search.knee, stopped)
    if run.out is not None:
        counts = {"trials": len(trials.calls), "requests": sum(len(calls) for _, calls in trials.calls)}
        asked = {**config(run, address), **_asked(order)}
        source = origin(config=asked, seeds=[run.seed], counts=counts, started=started)
        _write(run.out, found, goodput=order.goodput)
        _write_calls(run.out / "calls.jsonl.gz", trials)
        (run.out / "origin.json").write_text(json.dumps({**source, "stopped": stopped}, indent=1) + "\n")
    return found


def trial_row(trial: Trial) -> tuple[str, ...]:
    """A trial as people read it, in the order of `HEAD`."""
    end = "met" if trial.met else f"not met{': given up' if trial.why else ''}"
    return (f"{trial.rate:.2f}", str(trial.due), str(trial.good), f"{trial.share:.1%}", end)


def sentences(found: Found, *, goodput: float) -> Iterator[str]:
    """The answer, and what it is worth."""
    knee = found.knee
    if found.stopped is not None:
        yield f"Not complete: {found.stopped}."
    if knee.rate is None:
        yield f"No rate was found at which {goodput:.1%} of the requests meet the objective, twice."
    else:
        above = "no higher rate failed" if knee.fails_at is None else f"{knee.fails_at:.2f} requests/s do not, twice"
        yield f"{knee.rate:.2f} requests/s meet the objective for {goodput:.1%} of the requests, twice; {above}."
    late = max((trial.lag_ms for trial in knee.trials), default=0.0)
    if late > LAG_LIMIT_MS:
        yield (
            f"Beware: this client sent up to {late:.0f} ms late (p99 of a trial), which counts against the server: "
            "with a machine of its own the knee may be higher."
        )


def _asked(order: KneeOrder) -> dict[str, object]:
    numbers = {"goodput": order.goodput, "trial_s": order.trial_s, "start": order.start, "between": order.between}
    return {"objective": order.slo.model_dump(mode="json"), **numbers, "precision": order.precision}


def _write(out: Path, found: Found, *, goodput: float) -> None:
    (out / "summary.json").write_text(json.dumps(found.as_json(), indent=1) + "\n")
    table = markdown_table(HEAD, map(trial_row, found.knee.trials))
    said = "\n".join(f"- {line}" for line in sentences(found, goodput=goodput))
    (out / "table.md").write_text(f"{table}\n\n{said}\n")


def _write_calls(file: Path, trials: Trials) -> None:
    with gzip.open(file, "wt", encoding="utf-8") as raw:
        for number, (rate, calls) in enumerate(trials.calls):
            raw.writelines(json.dumps({"trial": number, "rate": rate, **asdict(call)}) + "\n" for call in calls)

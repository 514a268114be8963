"""Results of `penstock bench slo`: goodput over rate, the objective, the knee, and every trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.knee import HEAD, Found, sentences, trial_row
from benchmarks.metrics import LAG_LIMIT_MS, spread
from benchmarks.report.charts import Line, Mark, Scale, is_wide, lines
from benchmarks.report.exhibits import failures
from benchmarks.report.folder import Folder
from benchmarks.report.page import Exhibit, Fact, Key, Notice, Page, Section, Table, number, short
from benchmarks.report.runs import limits_of
from benchmarks.report.samples import Samples
from benchmarks.slo_search import Knee

KIND = "slo"


@dataclass(frozen=True, slots=True)
class Searched:
    """One search. `by_rate`: rate → the samples of all its trials, first tokens counted from when they were due."""

    folder: Folder
    name: str
    knee: Knee
    stopped: str | None
    goodput: float
    objective: Mapping[str, Any]
    by_rate: Mapping[float, Samples]

    @classmethod
    def read(cls, folder: Folder, *, name: str) -> Searched:
        """The search of a folder."""
        by_rate: dict[float, Samples] = {}
        for line, call in folder.calls():
            rate = line.get("rate")
            if isinstance(rate, int | float):
                by_rate.setdefault(float(rate), Samples()).add(call, due=True)
        objective, goodput = folder.config.get("objective"), folder.config.get("goodput")
        stopped = folder.summary.get("stopped")
        return cls(
            folder,
            name,
            folder.as_shape(Knee),
            str(stopped) if stopped else None,
            float(goodput) if isinstance(goodput, int | float) else 1.0,
            objective if isinstance(objective, Mapping) else {},
            dict(sorted(by_rate.items())),
        )


def fits(summary: Mapping[str, Any]) -> bool:
    """Whether a summary is one of this kind."""
    return "trials" in summary and "fails_at" in summary


def page(folders: Sequence[Folder], *, names: Sequence[str]) -> Page:
    """The page of one search or of several, one after the other."""
    found = [Searched.read(folder, name=name) for folder, name in zip(folders, names, strict=True)]
    alone = len(found) == 1
    suites = list(dict.fromkeys(folder.suite for folder in folders))
    models = list(dict.fromkeys(str(folder.config.get("model", "unknown")) for folder in folders))
    said = [(one, line) for one in found for line in sentences(Found(one.knee, None), goodput=one.goodput)]
    return Page(
        kind=KIND,
        title=f"How much {', '.join(models)} can take: {', '.join(suites)}",
        about=short("; ".join(dict.fromkeys(_asked(one) for one in found))) + ".",
        notices=tuple(notice for one in found for notice in _notices(one, alone=alone)),
        facts=tuple(_facts(found[0])) if alone else (),
        sentences=tuple(
            line if alone else f"{one.name}: {line}" for one, line in said if not line.startswith("Beware:")
        ),
        sections=tuple(_section(one, number_, alone=alone) for number_, one in enumerate(found)),
        folders=tuple(folders),
        figures=tuple(folder.summary for folder in folders),
    )


def _asked(search: Searched) -> str:
    target = search.folder.config.get("target") or "an unknown address"
    limits = limits_of(search.objective)
    return f"The highest rate at which {search.goodput:.1%} of the requests meet {limits}, at {target}"


def _notices(search: Searched, *, alone: bool) -> Iterator[Notice]:
    where = "" if alone else f"{search.name}: "
    if search.stopped is not None:
        yield Notice("Not complete", f"{where}{short(search.stopped)}.")
    if search.knee.rate is None:
        yield Notice("No knee", f"{where}no rate met the objective twice.")
    total = Samples()
    for one in search.by_rate.values():
        total.errors.update(one.errors)
        for error, detail in one.details.items():
            total.details.setdefault(error, detail)
    yield from failures(total, where=where)
    late = max((trial.lag_ms for trial in search.knee.trials), default=0.0)
    if late > LAG_LIMIT_MS:
        text = f"{where}this client sent up to {late:.0f} ms late (p99 of a trial), which counts against the server."
        yield Notice("Beware", text, failed=False)


def _facts(search: Searched) -> Iterator[Fact]:
    knee = search.knee
    yield Fact("Knee", number(knee.rate, digits=2), "requests/s")
    yield Fact("Fails at", number(knee.fails_at, digits=2), "requests/s")
    yield Fact("Good requests, at least", f"{search.goodput:.1%}")
    for word, field in (("TTFT", "ttft_ms"), ("TPOT", "tpot_ms"), ("Whole answer", "e2e_ms")):
        limit = search.objective.get(field)
        if isinstance(limit, int | float):
            yield Fact(f"{word} at most", f"{limit:,g}", "ms")
    yield Fact("Trials", str(len(knee.trials)))


def _section(search: Searched, at: int, *, alone: bool) -> Section:
    title = "Goodput over rate" if alone else f"{search.name}: goodput over rate"
    exhibits = [_goodput(search, at)]
    latency = _latency(search, at)
    return Section(title, (*exhibits, *([latency] if latency is not None else [])))


def _goodput(search: Searched, at: int) -> Exhibit:
    trials = search.knee.trials
    log = is_wide([trial.rate for trial in trials])
    groups = [(style, [one for one in trials if one.met is met], not met) for style, met in ((0, True), (1, False))]
    drawn = [
        Line([one.rate for one in group], [one.share for one in group], style, shape="marks", hollow=hollow)
        for style, group, hollow in groups
        if group
    ]
    marks = [Mark(search.goodput, f"objective {search.goodput:.1%}", upright=False)]
    if search.knee.rate is not None:
        marks.append(Mark(search.knee.rate, f"knee {search.knee.rate:.2f}/s"))
    knee = "no knee" if search.knee.rate is None else f"the knee is at {search.knee.rate:.2f} requests per second"
    picture = lines(
        drawn,
        scale=Scale("Share of requests that met the objective", _axis(log), log_x=log, share=True),
        name=f"search-{at}",
        label=f"Goodput of {len(trials)} trials over the request rate; {knee}.",
        marks=marks,
    )
    rows = tuple(map(trial_row, trials))
    keys = (
        Key("trial that met it", 0, marked=True, joined=False),
        Key("trial that did not", 1, marked=True, hollow=True, joined=False),
    )
    note = "One trial is no verdict. A trial that was given up counts every request that was not answered as a miss."
    caption = "Every trial by its rate, with the objective and the knee"
    return Exhibit(caption, (picture,) if drawn else (), Table((*HEAD[:4], "objective"), rows), keys, note)


def _latency(search: Searched, at: int) -> Exhibit | None:
    """The time to the first token as the rate grows, of those requests that were answered."""
    found = {rate: values for rate, one in search.by_rate.items() if (values := spread(one.ttft_ms)) is not None}
    if len(found) < 2:
        return None
    rates = list(found)
    log, limit = is_wide(rates), search.objective.get("ttft_ms")
    picture = lines(
        [
            Line(rates, [one.p50 for one in found.values()], 0, shape="points"),
            Line(rates, [one.p99 for one in found.values()], 0, dashed=True, shape="points"),
        ],
        scale=Scale("TTFT from when it was due, ms", _axis(log), log_x=log),
        name=f"search-ttft-{at}",
        label=f"Time to first token over the request rate: {len(rates)} rates from {rates[0]:.2f} to {rates[-1]:.2f}.",
        marks=[Mark(float(limit), "limit", upright=False)] if isinstance(limit, int | float) else (),
    )
    rows = tuple(
        (f"{rate:.2f}", f"{one.count:,}", number(one.p50), number(one.p90), number(one.p99))
        for rate, one in found.items()
    )
    caption = "Time to the first token by rate, all trials of a rate together"
    note = "Of the requests that were answered: what was dropped when a trial was given up has no first token."
    table = Table(("requests/s", "answered", "p50", "p90", "p99"), rows)
    return Exhibit(
        caption, (picture,), table, (Key("p50", 0, marked=True), Key("p99", 0, dashed=True, marked=True)), note
    )


def _axis(log: bool) -> str:
    return "requests/s, logarithmic" if log else "requests/s"

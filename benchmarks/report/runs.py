"""Results of `penstock bench run`: one run on a page, or several of one suite as a curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.metrics import Metrics, Spread
from benchmarks.report.charts import STEEP, Line, Scale, is_wide, lines
from benchmarks.report.exhibits import arm_keys, distributions, failures, over_time
from benchmarks.report.folder import Folder
from benchmarks.report.page import Exhibit, Fact, Key, Notice, Page, Section, Table, number, short
from benchmarks.report.samples import Samples, Traffic
from benchmarks.result import HEAD, latency_rows, sentences
from models.errors import ConfigurationError

KIND = "run"
MOST_LINES = 8
CURVE_HEAD = (
    "run",
    "load",
    "completed",
    "requests/s",
    "tokens/s",
    *(f"{w} {p}" for w in ("TTFT", "TPOT") for p in ("p50", "p99")),
)


@dataclass(frozen=True, slots=True)
class Ran:
    """One run, with what its calls say."""

    folder: Folder
    name: str
    metrics: Metrics
    model: str
    stopped: str | None
    inside: tuple[float, float]
    samples: Samples
    traffic: Traffic

    @classmethod
    def read(cls, folder: Folder, *, name: str) -> Ran:
        """The run of a folder. Only calls that were sent inside the window count as samples, as in the summary."""
        metrics = folder.as_shape(Metrics)
        warm_up = folder.load.get("warm_up_s")
        begin = float(warm_up) if isinstance(warm_up, int | float) else 0.0
        inside = (begin, begin + metrics.window_s)
        samples, traffic = Samples(), Traffic()
        for _, call in folder.calls():
            traffic.add(call)
            if inside[0] <= call.sent_s < inside[1] + 1e-6:
                samples.add(call)
        model = str(folder.summary.get("model") or folder.config.get("model") or "unknown")
        stopped = folder.summary.get("stopped") or folder.origin.get("stopped")
        return cls(folder, name, metrics, model, str(stopped) if stopped else None, inside, samples, traffic)

    @property
    def load(self) -> str:
        """How it was asked, in a few words."""
        workload = self.folder.load.get("workload")
        return load_words(workload if isinstance(workload, Mapping) else {})

    @property
    def order(self) -> tuple[float, float]:
        """Where it stands on a curve: by what was asked, else by what came back."""
        workload = self.folder.load.get("workload")
        asked = workload if isinstance(workload, Mapping) else {}
        wanted = asked.get("clients") or asked.get("rate") or 0.0
        return (float(wanted) if isinstance(wanted, int | float) else 0.0, self.metrics.tokens_per_s)


def fits(summary: Mapping[str, Any]) -> bool:
    """Whether a summary is one of this kind."""
    return "window_s" in summary and "tokens_per_s" in summary


def page(folders: Sequence[Folder], *, names: Sequence[str]) -> Page:
    """The page of one run or of several."""
    suites = sorted({folder.suite for folder in folders})
    if len(suites) > 1:
        raise ConfigurationError(f"These are runs of several suites: {', '.join(suites)}. A curve has one.")
    runs = [Ran.read(folder, name=name) for folder, name in zip(folders, names, strict=True)]
    runs.sort(key=lambda one: one.order)
    models = sorted({one.model for one in runs})
    sections = (*_curve(runs), *_latency(runs), *_goodput(runs), *_time(runs))
    return Page(
        kind=KIND,
        title=f"{suites[0] or 'A run'} on {', '.join(models)}",
        about=_about(runs),
        notices=tuple(notice for one in runs for notice in _notices(one, alone=len(runs) == 1)),
        facts=tuple(_facts(runs[0])) if len(runs) == 1 else (),
        sentences=tuple(_sentences(runs[0].metrics)) if len(runs) == 1 else (),
        sections=sections,
        folders=tuple(one.folder for one in runs),
        figures=tuple(one.folder.summary for one in runs),
    )


def load_words(workload: Mapping[str, Any]) -> str:
    """A workload in a few words: `8 clients`, `poisson, 4/s`."""
    kind = str(workload.get("kind", "unknown"))
    if "clients" in workload:
        return f"{workload['clients']} client{'s' if workload['clients'] != 1 else ''}"
    if "rate" in workload:
        return f"{kind}, {workload['rate']}/s"
    if "rate_from" in workload:
        return f"{kind}, {workload['rate_from']} to {workload.get('rate_to')}/s"
    return kind


def _about(runs: Sequence[Ran]) -> str:
    targets = sorted({str(one.folder.config.get("target") or "") for one in runs})
    said = f"{len(runs)} runs" if len(runs) > 1 else f"One run, {runs[0].load}"
    sizes = sorted({str(one.folder.config.get("size") or "") for one in runs})
    return short(f"{said}, size {', '.join(sizes)}, against {', '.join(targets)}.")


def _notices(run: Ran, *, alone: bool) -> Iterator[Notice]:
    """What failed in a run and what puts it in doubt."""
    where = "" if alone else f"{run.name}: "
    if run.stopped is not None:
        yield Notice("Not complete", f"{where}{short(run.stopped)}.")
    inside = Samples(errors=type(run.samples.errors)(run.metrics.errors), details=run.samples.details)
    yield from failures(inside, where=where)
    if run.metrics.unfinished:
        yield Notice("Not ended", f"{where}{run.metrics.unfinished:,} requests: they count in no latency.")
    if run.metrics.client_limited is not None:
        yield Notice("Beware", f"{where}{short(run.metrics.client_limited)}.", failed=False)
    if not run.folder.has_calls:
        yield Notice(
            "Beware", f"{where}no raw calls lie beside the figures: no distribution, no time line.", failed=False
        )


def _facts(run: Ran) -> Iterator[Fact]:
    found = run.metrics
    yield Fact("Output", number(found.tokens_per_s), "tokens/s")
    yield Fact("Completed", number(found.requests_per_s, digits=2), "requests/s")
    for name, values in (("TTFT", found.ttft_ms), ("TPOT", found.tpot_ms)):
        if values is not None:
            yield Fact(f"{name} p50", number(values.p50), "ms")
            yield Fact(f"{name} p99", number(values.p99), "ms")
    for goal in found.goodput:
        yield Fact(f"Goodput, {goal.slo}", f"{goal.share:.1%}")


def _sentences(metrics: Metrics) -> Iterator[str]:
    """What `bench run` says, but for what stands among the notices."""
    yield from (
        one
        for one in sentences(metrics, stopped=None)
        if not one.startswith(("Failed:", "Beware:")) and "had not ended" not in one
    )


def _series(runs: Sequence[Ran]) -> dict[str, list[Ran]]:
    """The runs of one line: one model at one address."""
    addresses = {
        one.model: {str(run.folder.config.get("target")) for run in runs if run.model == one.model} for one in runs
    }
    found: dict[str, list[Ran]] = {}
    for one in runs:
        several = len(addresses[one.model]) > 1
        name = f"{one.model} at {one.folder.config.get('target')}" if several else one.model
        found.setdefault(name, []).append(one)
    return found


def _curve(runs: Sequence[Ran]) -> Iterator[Section]:
    """Latency over throughput, a point per run."""
    if len(runs) == 1:
        return
    series = _series(runs)
    pictures = []
    for word, field in (("TTFT", "ttft_ms"), ("TPOT", "tpot_ms")):
        drawn = [
            Line([x for x, _ in points], [y for _, y in points], style, dashed=percentile == "p99", shape="points")
            for percentile in ("p50", "p99")
            for style, of in enumerate(series.values())
            if (points := _points(of, field, percentile=percentile))
        ]
        if drawn:
            steep = is_wide([y for one in drawn for y in one.ys], factor=STEEP)
            title = f"{word}, ms{', logarithmic' if steep else ''}"
            pictures.append(
                lines(
                    drawn,
                    scale=Scale(title, "output tokens/s", log_y=steep),
                    name=f"curve-{field}",
                    label=f"{word} over output tokens per second at {len(runs)} loads: {_ends(runs, field)}.",
                )
            )
    rows = tuple(
        (one.name, one.load, *_speed(one.metrics), *_two(one.metrics.ttft_ms), *_two(one.metrics.tpot_ms))
        for one in runs
    )
    keys = (*(arm_keys(list(series)) if len(series) > 1 else ()), Key("p50"), Key("p99", dashed=True))
    caption = "Latency over throughput: one point per run, joined in the order of the load"
    yield Section(
        "Latency and throughput",
        (Exhibit(caption, tuple(pictures), Table(CURVE_HEAD, rows), keys, "TTFT and TPOT in ms."),),
    )


def _points(runs: Sequence[Ran], field: str, *, percentile: str) -> list[tuple[float, float]]:
    found: list[tuple[float, Spread | None]] = [(one.metrics.tokens_per_s, getattr(one.metrics, field)) for one in runs]
    return [(x, float(getattr(values, percentile))) for x, values in found if values is not None]


def _ends(runs: Sequence[Ran], field: str) -> str:
    found: list[Spread] = [values for one in runs if (values := getattr(one.metrics, field)) is not None]
    low, high = min(one.p50 for one in found), max(one.p99 for one in found)
    return f"from a median of {low:.1f} ms to a p99 of {high:.1f} ms"


def _speed(found: Metrics) -> tuple[str, str, str]:
    return (f"{found.completed:,}", number(found.requests_per_s, digits=2), number(found.tokens_per_s))


def _two(values: Spread | None) -> tuple[str, str]:
    return ("—", "—") if values is None else (number(values.p50), number(values.p99))


def _latency(runs: Sequence[Ran]) -> Iterator[Section]:
    """Distributions; for one run with the table that `bench run` shows."""
    answered = {one.name: one.samples for one in runs if len(one.samples.ttft_ms)}
    alone = Table(HEAD, tuple(latency_rows(runs[0].metrics))) if len(runs) == 1 else None
    if len(answered) <= MOST_LINES:
        exhibit = distributions(
            answered, caption="Latencies of the requests inside the window", name="latency", table=alone
        )
        if exhibit is not None:
            yield Section("Distributions", (exhibit,))
            return
    if alone is not None and alone.rows:
        yield Section("Latency", (Exhibit("Latencies of the requests inside the window", (), alone),))


def _goodput(runs: Sequence[Ran]) -> Iterator[Section]:
    """Objectives, and how they fare as the load grows."""
    rows = [
        (one.name, goal.slo, f"{goal.good:,}", f"{goal.share:.1%}", number(goal.per_s, digits=2))
        for one in runs
        for goal in one.metrics.goodput
    ]
    if not rows:
        return
    names = list(dict.fromkeys(goal.slo for one in runs for goal in one.metrics.goodput))
    pictures: tuple[str, ...] = ()
    if len(runs) > 1 and len(_series(runs)) == 1:
        drawn = []
        for style, name in enumerate(names):
            points = [
                (one.metrics.requests_per_s, goal.share)
                for one in runs
                for goal in one.metrics.goodput
                if goal.slo == name
            ]
            drawn.append(Line([x for x, _ in points], [y for _, y in points], style, shape="points"))
        scale = Scale(
            "Share of requests that met the objective",
            "completed requests/s",
            share=True,
            log_x=is_wide([x for one in drawn for x in one.xs]),
        )
        pictures = (
            lines(
                drawn, scale=scale, name="goodput", label=f"Goodput over requests per second for {', '.join(names)}."
            ),
        )
    limits = _limits(runs[0].folder.config.get("slos"))
    table = Table(("run", "objective", "good", "share", "good/s"), tuple(rows))
    exhibit = Exhibit(
        "Goodput: requests that met every limit of an objective",
        pictures,
        table,
        arm_keys(names) if pictures else (),
        limits,
    )
    yield Section("Goodput", (exhibit,))


def _limits(slos: Any) -> str:
    """What the objectives ask for."""
    entries = [one for one in slos if isinstance(one, Mapping)] if isinstance(slos, list) else []
    return "; ".join(f"{short(one.get('name'))}: {limits_of(one)}" for one in entries)


def limits_of(slo: Mapping[str, Any]) -> str:
    """The limits of one objective."""
    fields = (("TTFT", "ttft_ms"), ("TPOT", "tpot_ms"), ("whole answer", "e2e_ms"))
    return ", ".join(
        f"{word} ≤ {slo[field]:,g} ms" for word, field in fields if isinstance(slo.get(field), int | float)
    )


def _time(runs: Sequence[Ran]) -> Iterator[Section]:
    """The time line of every run."""
    found = []
    for number_, one in enumerate(runs):
        of = "Requests" if len(runs) == 1 else f"{one.name}: requests"
        exhibit = over_time(
            one.traffic,
            inside=one.inside,
            per_piece=one.metrics.tokens_per_chunk or 1.0,
            caption=f"{of} in flight, tokens and failures over time, {one.load}",
            name=f"time-{number_}",
        )
        if exhibit is not None:
            found.append(exhibit)
    if found:
        yield Section("Over time", tuple(found))

"""Results of `penstock bench compare`: arms beside each other, their ratios inside a round, and where the time goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.estimates import Estimate
from benchmarks.metrics import CPU_LIMIT, LAG_LIMIT_MS
from benchmarks.report.charts import STEEP, Interval, Line, Mark, Scale, Stage, budget, intervals, is_wide, lines
from benchmarks.report.exhibits import arm_keys, distributions, failures
from benchmarks.report.folder import Folder
from benchmarks.report.page import Exhibit, Key, Notice, Page, Section, Table, number, short
from benchmarks.report.samples import Samples
from benchmarks.stages import Stages
from benchmarks.summary import Row, Summary

KIND = "compare"
COSTS = (
    ("CPU s per 1,000 requests", "cpu_s_per_1000_requests", 1.0),
    ("front CPU µs per chunk", "front_cpu_us_per_chunk", 1.0),
    ("front CPU ms per request", "front_cpu_ms_per_request", 1.0),
    ("GPU s per 1,000 requests", "gpu_s_per_1000_requests", 1.0),
    ("memory, MiB", "memory_bytes", 2**20),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One comparison. `samples`: load → arm → what its calls say; `at` keeps names on the page apart."""

    folder: Folder
    name: str
    at: int
    found: Summary
    samples: Mapping[str, Mapping[str, Samples]]

    @classmethod
    def read(cls, folder: Folder, *, name: str, at: int) -> Compared:
        """The comparison of a folder."""
        found = folder.as_shape(Summary)
        samples: dict[str, dict[str, Samples]] = {load: {arm: Samples() for arm in found.arms} for load in found.loads}
        for line, call in folder.calls():
            load = line.get("load")
            if isinstance(load, str):
                samples.setdefault(load, {}).setdefault(str(line.get("arm")), Samples()).add(call)
        return cls(folder, name, at, found, samples)


def fits(summary: Mapping[str, Any]) -> bool:
    """Whether a summary is one of this kind."""
    rows = summary.get("rows")
    shaped = isinstance(rows, list) and all(isinstance(row, Mapping) and "arm" in row for row in rows)
    return shaped and "reference" in summary


def page(folders: Sequence[Folder], *, names: Sequence[str]) -> Page:
    """The page of one comparison or of several, one after the other."""
    both = enumerate(zip(folders, names, strict=True))
    found = [Compared.read(folder, name=name, at=at) for at, (folder, name) in both]
    alone = len(found) == 1
    suites = dict.fromkeys(one.found.suite or one.folder.suite for one in found)
    engines = dict.fromkeys(one.found.engine or "an unnamed engine" for one in found)
    return Page(
        kind=KIND,
        title=f"Arms compared: {', '.join(suites)} on {', '.join(engines)}",
        about=short("; ".join(dict.fromkeys(_about(one.found) for one in found))) + ".",
        notices=tuple(notice for one in found for notice in _notices(one, alone=alone)),
        facts=(),
        sentences=tuple(line for one in found for line in _sentences(one, alone=alone)),
        sections=tuple(section for one in found for section in _sections(one, alone=alone)),
        folders=tuple(folders),
        figures=tuple(folder.summary for folder in folders),
    )


def _about(found: Summary) -> str:
    return f"{len(found.arms)} arms at {_loads(found)}; the reference is {found.reference}"


def _notices(one: Compared, *, alone: bool) -> Iterator[Notice]:
    where, found = "" if alone else f"{one.name}: ", one.found
    stopped = found.stopped or one.folder.origin.get("stopped")
    if stopped:
        yield Notice("Not complete", f"{where}{short(stopped)}.")
    for arm, reason in found.failed.items():
        yield Notice("Not measured", f"{where}{short(arm)}: {short(reason)}")
    for sentence in found.faulty:
        yield Notice("Counts in no figure", f"{where}{short(sentence)}")
    yield from _failures(one, where=where)
    if found.client is not None and (found.client.cpu_share > CPU_LIMIT or found.client.lag_ms_p99 > LAG_LIMIT_MS):
        worst = f"used {found.client.cpu_share:.0%} of a core and was {found.client.lag_ms_p99:.0f} ms late (p99)"
        yield Notice("Beware", f"{where}at its worst the measuring client {worst}.", failed=False)
    if not one.folder.has_calls:
        yield Notice("Beware", f"{where}no raw calls lie beside the figures: no distribution.", failed=False)


def _failures(one: Compared, *, where: str) -> Iterator[Notice]:
    """Failed requests of each arm, all loads together."""
    arms: dict[str, Samples] = {}
    for of_load in one.samples.values():
        for arm, samples in of_load.items():
            total = arms.setdefault(arm, Samples())
            total.errors.update(samples.errors)
            for error, detail in samples.details.items():
                total.details.setdefault(error, detail)
    for arm, total in arms.items():
        yield from failures(total, where=f"{where}{short(arm)}: ")


def _sentences(one: Compared, *, alone: bool) -> Iterator[str]:
    """What the arms reach of the reference, at the most clients where both were measured."""
    found, where = one.found, "" if alone else f"{one.name}: "
    best: dict[str, str] = {}
    for row, other, versus in found.ratios():
        if other == found.reference and row.clients is not None:
            best[row.arm] = (
                f"{row.arm} at {row.load}: {_said(versus.throughput, 2)} × the tokens/s of {other} (95 % interval)."
            )
    yield from (f"{where}{short(line)}" for line in best.values())


def _sections(one: Compared, *, alone: bool) -> Iterator[Section]:
    of = "" if alone else f"{one.name}: "
    yield Section(f"{of}Latency and throughput", (_curve(one),))
    ratios = _ratios(one)
    if ratios is not None:
        yield Section(f"{of}Ratios", (ratios,), "Each inside one round, against the other arm in the same round.")
    costs = _costs(one.found)
    if costs is not None:
        yield Section(f"{of}What it costs", (costs,))
    if one.found.stages is not None:
        yield Section(f"{of}Where the time goes", (_stages(one, one.found.stages),))
    drawn = [_distribution(one, load) for load in one.samples]
    shown = tuple(exhibit for exhibit in drawn if exhibit is not None)
    if shown:
        yield Section(f"{of}Distributions", shown)


def _curve(one: Compared) -> Exhibit:
    """Latency over throughput, a line per arm and a point per load."""
    found = one.found
    latencies = (
        ("TTFT, ms", "ttft", (("ttft_ms_p50", False), ("ttft_ms_p99", True))),
        ("TPOT p50, ms", "tpot", (("tpot_ms_p50", False),)),
    )
    pictures = []
    for title, word, fields in latencies:
        drawn = []
        for field, dashed in fields:
            for style, arm in enumerate(found.arms):
                points = _points(found, arm, field=field)
                drawn.append(Line([x for x, _ in points], [y for _, y in points], style, dashed=dashed, shape="points"))
        if any(len(line.xs) for line in drawn):
            label = f"{title} over output tokens per second for {', '.join(found.arms)} at {_loads(found)}."
            steep = is_wide([y for line in drawn for y in line.ys], factor=STEEP)
            scale = Scale(f"{title}{', logarithmic' if steep else ''}", "output tokens/s", log_y=steep)
            pictures.append(lines(drawn, scale=scale, name=f"arms-{word}-{one.at}", label=label))
    keys = (*arm_keys(found.arms), Key("p50"), Key("p99", dashed=True))
    return Exhibit(
        "Latency over throughput: one line per arm, one point per number of clients that wait",
        tuple(pictures),
        _table(found),
        keys,
    )


def _loads(found: Summary) -> str:
    return ", ".join(found.loads)


def _points(found: Summary, arm: str, *, field: str) -> list[tuple[float, float]]:
    rows = [row for row in found.rows if row.arm == arm and row.clients is not None]
    values = [(row.tokens_per_s, getattr(row, field)) for row in rows]
    return [(x, y) for x, y in values if x is not None and y is not None]


def _table(found: Summary) -> Table:
    """Every figure of every arm; those that were not measured stand below."""
    head = ("arm", "load", "blocks", "tokens/s", "requests/s", "TTFT p50", "TTFT p99", "TPOT p50")
    none = ("—",) * (len(head) - 1)
    missing = [(f"{short(arm)} (not measured)", *none) for arm in found.failed if arm not in found.arms]
    return Table(head, (*map(_figures, found.rows), *missing))


def _figures(row: Row) -> tuple[str, ...]:
    blocks = "—" if row.blocks is None else str(row.blocks)
    latencies = (row.ttft_ms_p50, row.ttft_ms_p99, row.tpot_ms_p50)
    speed = (number(row.tokens_per_s), number(row.requests_per_s, digits=2))
    return (row.arm, row.load, blocks, *speed, *map(number, latencies))


def _costs(found: Summary) -> Exhibit | None:
    """Processor time and memory, where they were counted."""
    counted = [cost for cost in COSTS if any(getattr(row, cost[1]) is not None for row in found.rows)]
    if not counted:
        return None
    titles = tuple(title for title, _, _ in counted)
    rows = tuple(
        (row.arm, row.load, *(_cost(row, field, unit=unit) for _, field, unit in counted)) for row in found.rows
    )
    table = Table(("arm", "load", *titles), rows)
    return Exhibit("Processor time and memory of each arm", (), table, (), "A dash where it was not counted.")


def _cost(row: Row, field: str, *, unit: float) -> str:
    value = getattr(row, field)
    return number(None if value is None else value / unit)


def _ratios(one: Compared) -> Exhibit | None:
    """Throughput and time to first token against other arms, with intervals; the reference's own in the picture."""
    found = one.found
    turn = {arm: place for place, arm in enumerate(sorted(found.arms, key=lambda arm: arm == found.reference))}
    every = [each for each in found.ratios() if turn[each[0].arm] < turn[each[1]]]  # a pair once, the reference below
    if not every:
        return None
    rows = tuple(
        (
            f"{row.arm} / {other}",
            row.load,
            _said(versus.throughput, 3),
            _said(versus.ttft_gap_ms, 1),
            str(versus.throughput.count),
        )
        for row, other, versus in every
    )
    kinds = (
        ("throughput", f"Tokens/s as a share of {found.reference}", "ratio", 1.0),
        ("ttft_gap_ms", f"TTFT p50 minus that of {found.reference}", "ms", 0.0),
    )
    pictures = []
    for field, title, unit, line in kinds:
        drawn = list(_intervals(found, field))
        if drawn:
            label = f"{title}, {unit}: " + "; ".join(
                f"{row.name}: {row.median:.3g} ({row.low:.3g} to {row.high:.3g})" for row in drawn
            )
            pictures.append(
                intervals(drawn, scale=Scale(title, unit), line=line, name=f"forest-{unit}-{one.at}", label=f"{label}.")
            )
    table = Table(("arm / other", "load", "tokens/s, ratio", "TTFT gap, ms", "rounds"), rows)
    note = (
        "Median over rounds with its 95 % interval. An interval that crosses the dashed line shows no difference. "
        "In the picture a row is an arm · its load."
    )
    return Exhibit(f"Against {found.reference}, with intervals", tuple(pictures), table, (), note)


def _intervals(found: Summary, field: str) -> Iterator[Interval]:
    """A row per arm and load; arms stand together."""
    for style, arm in enumerate(found.arms):
        for row, other, versus in found.ratios():
            of: Estimate = getattr(versus, field)
            if row.arm == arm and other == found.reference:
                yield Interval(f"{arm} · {row.load}", of.median, of.low, of.high, style)


def _said(of: Estimate, digits: int) -> str:
    """The median with its interval."""
    return f"{of.median:,.{digits}f} [{of.low:,.{digits}f}, {of.high:,.{digits}f}]"


def _stages(one: Compared, found: Stages) -> Exhibit:
    """The budget: stage after stage, their sum, and the difference that was measured from outside."""
    steps, begin = [], 0.0
    for row in found.rows:
        steps.append(Stage(row.stage, begin, row.ms))
        begin += row.ms
    outside = found.through_minus_direct_ms
    steps += [
        Stage("sum of the stages", 0.0, found.sum_ms, total=True),
        Stage("through − direct", 0.0, outside, total=True),
    ]
    load = f" at {found.load}"
    label = f"Stages{load}: " + ", ".join(f"{row.stage} {row.ms:.3g} ms" for row in found.rows)
    picture = budget(
        steps,
        scale=Scale(f"Added time per request{load}", "ms"),
        closing=Mark(outside, "through − direct"),
        name=f"stages-{one.at}",
        label=f"{label}; sum {found.sum_ms:.3g} ms, measured from outside {outside:.3g} ms.",
    )
    rows = [
        (row.stage, number(row.ms, digits=3), f"{row.ms / found.sum_ms:.0%}" if found.sum_ms else "—", row.what)
        for row in found.rows
    ]
    rows += [
        ("sum of the stages", number(found.sum_ms, digits=3), "100%", ""),
        ("through − direct", number(outside, digits=3), "—", "as the clients saw it"),
    ]
    note = (
        "The dashed line is what was measured from outside: through the front minus direct. "
        f"The sum is {found.closes_within:.1%} away from it."
    )
    return Exhibit(
        "The budget of a request, stage by stage",
        (picture,),
        Table(("stage", "ms", "of the sum", "what"), tuple(rows)),
        (),
        note,
    )


def _distribution(one: Compared, load: str) -> Exhibit | None:
    """Latencies of every arm at one load, all blocks together."""
    caption = f"Latencies at {load}, all rounds together"
    return distributions(one.samples[load], caption=caption, name=f"latency-{one.at}-{list(one.samples).index(load)}")

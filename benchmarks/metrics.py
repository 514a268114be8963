"""What a run's calls say: latencies, throughput, goodput, errors, and whether the client was the limit. Pure.

Milliseconds and seconds as named. A call counts when it was sent inside the window (after the warm-up, before the end)
and has ended; one that failed has no latency, but counts as a miss of every objective.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.calls import Call
from benchmarks.priority import Priority
from benchmarks.runner import Run
from benchmarks.suite import Load, Slo

LAG_LIMIT_MS = 10.0
CPU_LIMIT = 0.9
PERCENTILES = (50, 90, 99, 99.9)


@dataclass(frozen=True, slots=True)
class Spread:
    """Of so many values; percentiles with linear interpolation. A p99.9 of fewer than 1,000 is little but the top."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p99_9: float


@dataclass(frozen=True, slots=True)
class Goodput:
    """How many requests of the window met an objective."""

    slo: str
    good: int
    share: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """The figures of one run. `lag_ms`: sent later than due (open loop), or this process waking up late (closed)."""

    window_s: float
    sent: int
    completed: int
    unfinished: int
    errors: Mapping[str, int]
    finish_reasons: Mapping[str, int]
    models: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    requests_per_s: float
    tokens_per_s: float
    tokens_per_chunk: float | None
    ttft_ms: Spread | None
    second_token_ms: Spread | None
    tpot_ms: Spread | None
    itl_ms: Spread | None
    e2e_ms: Spread | None
    user_tokens_per_s: Spread | None
    goodput: tuple[Goodput, ...]
    lag_ms: Spread | None
    client_cpu_share: float
    client_limited: str | None
    client_priority: Priority = "normal"

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)


def spread(values: Sequence[float]) -> Spread | None:
    """None of nothing."""
    if not values:
        return None
    found = np.percentile(values, PERCENTILES)
    return Spread(len(values), float(np.mean(values)), *(float(value) for value in found))


def tpot_s(call: Call) -> float | None:
    """Time per output token after the first: (last − first) ÷ (tokens − 1)."""
    if len(call.chunks_s) < 2:
        return None
    return (call.chunks_s[-1] - call.chunks_s[0]) / (tokens(call) - 1)


def tokens(call: Call) -> int:
    """As the server counted them; pieces of content where it did not say."""
    return max(call.output_tokens or 0, len(call.chunks_s))


def good(call: Call, slo: Slo) -> bool:
    """Whether a call met every limit, counted from when it was due: who sends late makes no server look better.

    An answer of one token has no TPOT to miss.
    """
    if call.error is not None or not call.chunks_s:
        return False
    begin = call.sent_s if call.due_s is None else call.due_s
    first, whole = call.chunks_s[0] - begin, call.ended_s - begin
    measured = ((first, slo.ttft_ms), (tpot_s(call) or 0.0, slo.tpot_ms), (whole, slo.e2e_ms))
    return all(limit is None or 1000 * value <= limit for value, limit in measured)


def measure(run: Run, load: Load, *, slos: Sequence[Slo]) -> Metrics:
    """Every figure of a run."""
    begin, end = window(run, load)
    span = max(1e-9, end - begin)
    sent = [call for call in run.calls if begin <= call.sent_s < end]
    ended = [call for call in sent if call.ended_s]
    done = [call for call in ended if call.error is None]
    answered = [call for call in done if call.chunks_s]
    in_window = [stamp for call in run.calls for stamp in call.chunks_s if begin <= stamp <= end]
    output, chunks = sum(map(tokens, answered)), sum(len(call.chunks_s) for call in answered)
    per_chunk = output / chunks if chunks else None
    lag = _lag(run, ended)
    return Metrics(
        window_s=span,
        sent=len(sent),
        completed=len(done),
        unfinished=len(sent) - len(ended),
        errors=dict(Counter(call.error for call in ended if call.error)),
        finish_reasons=dict(Counter(call.finish_reason or "none" for call in done)),
        models=dict(Counter(call.model or "unknown" for call in done).most_common()),
        input_tokens=sum(call.input_tokens or 0 for call in done),
        output_tokens=output,
        cached_tokens=sum(call.cached_tokens or 0 for call in done),
        requests_per_s=sum(begin <= call.ended_s <= end for call in run.calls if call.ended_s and call.error is None)
        / span,
        tokens_per_s=len(in_window) * (per_chunk or 1.0) / span,
        tokens_per_chunk=per_chunk,
        ttft_ms=_ms([call.chunks_s[0] - call.sent_s for call in answered]),
        second_token_ms=_ms([call.chunks_s[1] - call.sent_s for call in answered if len(call.chunks_s) > 1]),
        tpot_ms=_ms([value for value in map(tpot_s, answered) if value is not None]),
        itl_ms=_ms([after - before for call in answered for before, after in pairwise(call.chunks_s)]),
        e2e_ms=_ms([call.ended_s - call.sent_s for call in done]),
        user_tokens_per_s=spread([tokens(call) / (call.ended_s - call.sent_s) for call in answered]),
        goodput=tuple(_goodput(ended, slo, span=span) for slo in slos),
        lag_ms=lag,
        client_cpu_share=run.cpu_share,
        client_limited=_limited(lag, run),
        client_priority=run.priority,
    )


def window(run: Run, load: Load) -> tuple[float, float]:
    """From the end of the warm-up to the end of sending; to the last answer where their number is fixed."""
    if load.duration_s is not None and run.stopped is None and run.ended_s >= load.duration_s:
        return load.warm_up_s, load.duration_s
    return min(load.warm_up_s, run.ended_s), run.ended_s


def _goodput(ended: Sequence[Call], slo: Slo, *, span: float) -> Goodput:
    met = sum(good(call, slo) for call in ended)
    return Goodput(slo.name, met, met / len(ended) if ended else 0.0, met / span)


def _lag(run: Run, ended: Sequence[Call]) -> Spread | None:
    late = [max(0.0, call.sent_s - call.due_s) for call in ended if call.due_s is not None]
    return _ms(late or run.loop_lag_s)


def _limited(lag: Spread | None, run: Run) -> str | None:
    if run.cpu_share > CPU_LIMIT:
        return f"this client used {run.cpu_share:.0%} of its core: the figures are its own limit, not the server's"
    if lag is not None and lag.p99 > LAG_LIMIT_MS:
        way_out = "; with CAP_SYS_NICE it would go ahead of its neighbours" if run.priority == "normal" else ""
        return f"this client was {lag.p99:.0f} ms late (p99): the machine was too busy to measure{way_out}"
    return None


def _ms(values: Sequence[float]) -> Spread | None:
    return spread([1000 * value for value in values])

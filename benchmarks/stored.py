"""Two stored results of one kind against each other: what a figure was, what it is, and how sure the ratio is.

Reads two folders, sends nothing. The runs were at different times, so their ratio also holds what the machine did in
between: only arms of one run compare without that. Intervals are bootstrapped from the calls of a run, or from the
blocks of a comparison.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.calls import Call
from benchmarks.estimates import CONFIDENCE, RESAMPLES, Estimate
from benchmarks.metrics import tpot_s
from benchmarks.report.folder import Folder
from benchmarks.result import read_calls
from benchmarks.schedule import Point
from models.errors import ConfigurationError

SEED = 1
SAME = ("suite", "size", "load", "card", "mock")
HEAD = ("", "figure", "before", "after", "after ÷ before")

Values = Sequence[float]
Statistic = Callable[[Any, int], Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both results. `ratio` has no interval of its own where there is one value only (count 1)."""

    of: str
    figure: str
    before: float
    after: float
    ratio: Estimate

    def as_row(self) -> tuple[str, ...]:
        """For a table, in the order of `HEAD`."""
        low, middle, high = (f"{value:.3f}" for value in (self.ratio.low, self.ratio.median, self.ratio.high))
        interval = f" ({low} … {high})" if self.ratio.count > 1 else ""
        return (self.of, self.figure, f"{self.before:,.2f}", f"{self.after:,.2f}", f"{middle}×{interval}")


def changes(before: Path, after: Path) -> list[Change]:
    """Every figure that both results have; raises `ConfigurationError` where they do not compare."""
    origins = [_origin(folder) for folder in (before, after)]
    first, second = (origin["config"] for origin in origins)
    if differ := [name for name in SAME if first.get(name) != second.get(name)]:
        raise ConfigurationError(f"The two results do not compare: they differ in {', '.join(differ)}.")
    kinds = {(folder / "blocks.jsonl").exists() for folder in (before, after)}
    if len(kinds) > 1:
        raise ConfigurationError("The two results do not compare: one is a run, the other a comparison of servers.")
    found = _of_blocks(before, after) if kinds == {True} else _of_calls(before, after, config=first)
    if not (every := list(found)):
        raise ConfigurationError("The two results have no figure in common.")
    return every


def ratio_of(before: Values, after: Values, *, statistic: Statistic) -> Estimate:
    """after ÷ before of a statistic, both resampled for themselves. `statistic(values, axis)` as NumPy's."""
    chance = np.random.default_rng(SEED)
    one, other = (np.asarray(values, dtype=float) for values in (before, after))
    drawn = [_resampled(values, statistic, chance=chance) for values in (one, other)]
    ratios = np.sort(drawn[1] / drawn[0])
    tail = (1 - CONFIDENCE) / 2
    middle = float(statistic(other, 0) / statistic(one, 0))
    low, high = ratios[int(tail * RESAMPLES)], ratios[int((1 - tail) * RESAMPLES) - 1]
    return Estimate(middle, float(low), float(high), min(len(one), len(other)))


def _resampled(values: Any, statistic: Statistic, *, chance: np.random.Generator) -> Any:
    """The statistic of so many samples with replacement, one at a time: a run may have many thousand calls."""
    drawn = (chance.choice(values, size=len(values)) for _ in range(RESAMPLES))
    return np.fromiter((float(statistic(sample, 0)) for sample in drawn), dtype=float, count=RESAMPLES)


def _median(values: Any, axis: int) -> Any:
    return np.median(values, axis=axis)


def _p99(values: Any, axis: int) -> Any:
    return np.percentile(values, 99, axis=axis)


CALL_FIGURES: tuple[tuple[str, Callable[[Call], float | None], Statistic], ...] = (
    ("TTFT p50, ms", lambda call: 1000 * (call.chunks_s[0] - call.sent_s), _median),
    ("TTFT p99, ms", lambda call: 1000 * (call.chunks_s[0] - call.sent_s), _p99),
    ("TPOT p50, ms", lambda call: None if (tpot := tpot_s(call)) is None else 1000 * tpot, _median),
    ("E2E p50, ms", lambda call: 1000 * (call.ended_s - call.sent_s), _median),
)


def _of_calls(before: Path, after: Path, *, config: Mapping[str, Any]) -> Iterator[Change]:
    warm_up_s = config["load"]["warm_up_s"]
    calls = [[one for one in read_calls(folder) if _counts(one, warm_up_s)] for folder in (before, after)]
    for figure, value, statistic in CALL_FIGURES:
        values = [[found for call in taken if (found := value(call)) is not None] for taken in calls]
        if all(values):
            one, other = (float(statistic(np.asarray(taken), 0)) for taken in values)
            yield Change("", figure, one, other, ratio_of(values[0], values[1], statistic=statistic))
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (before, after)]
    for figure in ("tokens_per_s", "requests_per_s"):
        one, other = (float(summary[figure]) for summary in summaries)
        if one:
            yield Change("", figure, one, other, Estimate(other / one, other / one, other / one, 1))


def _counts(call: Call, warm_up_s: float) -> bool:
    return call.error is None and bool(call.chunks_s) and call.sent_s >= warm_up_s


BLOCK_FIGURES: tuple[tuple[str, Callable[[Mapping[str, Any]], float]], ...] = (
    ("tokens/s", lambda metrics: metrics["tokens_per_s"]),
    ("TTFT p50, ms", lambda metrics: metrics["ttft_ms"]["p50"]),
)


def _of_blocks(before: Path, after: Path) -> Iterator[Change]:
    first, second = (_blocks(folder) for folder in (before, after))
    for place in first:
        for figure, value in BLOCK_FIGURES:
            one, other = ([value(block) for block in blocks.get(place, ())] for blocks in (first, second))
            if one and other:
                ratio = ratio_of(one, other, statistic=_median)
                yield Change(" · ".join(place), figure, float(np.median(one)), float(np.median(other)), ratio)


def _blocks(folder: Path) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """(arm, load) → the figures of its blocks that count."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in (folder / "blocks.jsonl").read_text().splitlines():
        block = json.loads(line)
        load = Point(block["clients"], block["rate"]).name
        if block["fault"] is None and block["metrics"]["ttft_ms"] is not None:
            found.setdefault((block["arm"], load), []).append(block["metrics"])
    return found


def _origin(folder: Path) -> Mapping[str, Any]:
    found = Folder.read(folder).origin
    if "load" not in found.get("config", {}):
        raise ConfigurationError(f"{str(folder)!r} is no result of `bench run` or `bench compare`.")
    if found.get("stopped") is not None:
        raise ConfigurationError(f"The result in {str(folder)!r} is not complete: {found['stopped']}.")
    return found

"""A survey in words: what a person reads before training. Lines of text, and the same as JSON. Owns no figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from finetune.data.survey import Pairs, Survey

BINS, BAR = 10, 40
SHOWN = 5
STATED = "as stated with --tokens-per-s"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training would take, and by which figures. `seconds` is None where no speed is known."""

    epochs: int
    tokens: int
    usd: float
    seconds: float | None
    source: str

    @classmethod
    def of(
        cls, tokens: int, epochs: int, *, usd_per_million: float, tokens_per_s: float | None, known: str = STATED
    ) -> Estimate:
        """`tokens`: of one pass, padding aside: time and price are theirs, as a job's are. `known`: of the speed."""
        total = tokens * epochs
        price = f"{usd_per_million:g} USD per million tokens of the profile"
        speed = (
            "no speed is known: no training of it has ended here, and --tokens-per-s states none"
            if tokens_per_s is None
            else f"{tokens_per_s:,.0f} tokens/s {known}"
        )
        seconds = None if tokens_per_s is None else total / tokens_per_s
        return cls(epochs, total, total / 1e6 * usd_per_million, seconds, f"{price}; {speed}")


def as_json(survey: Survey, estimate: Estimate | None) -> dict[str, Any]:
    """Everything, for programs."""
    found = {name: value for name, value in asdict(survey).items() if name != "lengths"}
    bins = [asdict(one) for one in histogram(survey.lengths)]
    return {
        "valid": survey.valid,
        **found,
        "histogram": bins,
        "estimate": None if estimate is None else asdict(estimate),
    }


@dataclass(frozen=True, slots=True)
class Bin:
    """Examples of `low` … `high` tokens, both included."""

    low: int
    high: int
    examples: int


def histogram(lengths: Sequence[int], *, bins: int = BINS) -> list[Bin]:
    """Equal bins from the shortest to the longest example; fewer where there are fewer lengths."""
    if not lengths:
        return []
    values = np.asarray(lengths, dtype=np.int64)
    low, high = int(values.min()), int(values.max())
    width = max(1, -(-(high - low + 1) // bins))
    counts = np.bincount((values - low) // width)
    return [Bin(low + place * width, low + (place + 1) * width - 1, int(count)) for place, count in enumerate(counts)]


def sentences(survey: Survey, estimate: Estimate | None) -> list[str]:
    """For people, in the order in which they decide: what it is, what is wrong, what it would teach and cost."""
    return [
        *_holds(survey),
        *_problems(survey),
        *_tokens(survey),
        *_alike(survey),
        *_private(survey),
        *([] if estimate is None else _estimate(estimate)),
    ]


def _holds(survey: Survey) -> Iterator[str]:
    facts = survey.facts
    if facts is None:
        return
    longest = f"longest line {facts.longest_line_bytes:,}"
    yield f"{facts.examples:,} {facts.format} examples in {facts.bytes:,} bytes; {longest}"
    if facts.messages:
        roles = ", ".join(f"{count:,} {role}" for role, count in sorted(facts.messages.items()))
        yield f"messages: {roles}; examples with tools: {facts.tools:,}"


def _problems(survey: Survey) -> Iterator[str]:
    yield from survey.problems
    if survey.bad_lines > len(survey.problems):
        yield f"… and {survey.bad_lines - len(survey.problems):,} more bad lines"


def _tokens(survey: Survey) -> Iterator[str]:
    counted = survey.counted
    if counted is None:
        return
    lengths = counted.lengths
    yield f"tokens of an example: {lengths.min} … {lengths.max:,}, median {lengths.median:,}, p95 {lengths.p95:,}"
    bins = histogram(survey.lengths)
    most, wide = max(one.examples for one in bins), len(f"{bins[-1].high:,}")
    for one in bins:
        bar = "█" * -(-one.examples * BAR // most)
        yield f"  {one.low:>{wide},} … {one.high:>{wide},} {bar} {one.examples:,}"
    yield f"one pass: {counted.tokens:,} tokens, {counted.trained_tokens:,} of them trained"
    if counted.cut:
        yield f"longer than {counted.max_length:,} tokens, to be cut: {counted.cut:,} examples"
    if counted.left_out:
        yield f"nothing left to learn: {counted.left_out:,} examples, which are left out"


def _alike(survey: Survey) -> Iterator[str]:
    yield from _pairs("the same as an earlier example", survey.same)
    yield from _pairs(f"nearly the same (among the first {survey.near_searched:,})", survey.near)
    yield from _pairs("same prompt, another answer", survey.contradicting)
    if survey.leaked is not None:
        yield from _pairs("prompt is in the golden set (golden example/line)", survey.leaked)


def _pairs(what: str, pairs: Pairs) -> Iterator[str]:
    lines = ", ".join(f"{earlier}/{later}" for earlier, later in pairs.first[:SHOWN])
    more = ", …" if pairs.count > SHOWN else ""
    yield f"{what}: {pairs.count:,}" + (f" (lines {lines}{more})" if pairs.count else "")


def _private(survey: Survey) -> Iterator[str]:
    if survey.private is None:
        yield "secrets and personal data: not looked for"
        return
    if not survey.private:
        yield "secrets and personal data: none found"
    for kind, found in survey.private.items():
        lines = ", ".join(str(line) for line in found.lines[:SHOWN])
        yield f"{kind}: {found.count:,} (lines {lines}{', …' if len(found.lines) > SHOWN else ''})"


def _estimate(estimate: Estimate) -> Iterator[str]:
    took = "unknown time" if estimate.seconds is None else f"about {_span(estimate.seconds)}"
    yield f"training, {estimate.epochs} × one pass: {estimate.tokens:,} tokens, {took}, {estimate.usd:,.4f} USD"
    yield f"  by {estimate.source}"


def _span(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"

"""The folder that a run leaves: every call, the figures, the table, and where they come from.

`origin.json` is written last: a folder without it is not a result. A run that was cut short is written too, and marked.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.calls import Call
from benchmarks.metrics import Metrics, Spread
from models.errors import ConfigurationError

LATENCIES = (
    ("TTFT", "ttft_ms", "ms"),
    ("to second token", "second_token_ms", "ms"),
    ("TPOT", "tpot_ms", "ms"),
    ("ITL", "itl_ms", "ms"),
    ("E2E", "e2e_ms", "ms"),
    ("tokens/s per user", "user_tokens_per_s", ""),
    ("client lag", "lag_ms", "ms"),
)
TOP_MODELS = 5
HEAD = ("", "n", "mean", "p50", "p90", "p99", "p99.9")


def prepare(out: Path) -> None:
    """Make the folder before anything is measured, and refuse one that holds a result."""
    if (out / "origin.json").exists():
        raise ConfigurationError(f"{str(out)!r} holds a result already. Choose another folder.")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass


def write(
    out: Path, calls: Sequence[Call], *, summary: Mapping[str, Any], table: str, found: Mapping[str, Any]
) -> None:
    """Everything of one run."""
    with gzip.open(out / "calls.jsonl.gz", "wt", encoding="utf-8") as raw:
        raw.writelines(json.dumps(asdict(call)) + "\n" for call in calls)
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (out / "table.md").write_text(table)
    (out / "origin.json").write_text(json.dumps(found, indent=1) + "\n")


def read_calls(out: Path) -> Iterator[Call]:
    """The calls of a stored run."""
    with gzip.open(out / "calls.jsonl.gz", "rt", encoding="utf-8") as raw:
        yield from (Call(**json.loads(line)) for line in raw)


def latency_rows(metrics: Metrics) -> Iterator[tuple[str, ...]]:
    """One row per distribution that has values, in the order of `HEAD`."""
    for name, field, unit in LATENCIES:
        values: Spread | None = getattr(metrics, field)
        if values is not None:
            label = f"{name} ({unit})" if unit else name
            shown = (values.mean, values.p50, values.p90, values.p99, values.p99_9)
            yield (label, f"{values.count:,}", *(f"{value:,.1f}" for value in shown))


def sentences(metrics: Metrics, *, stopped: str | None) -> Iterator[str]:
    """What the figures are worth: how it ended, what failed, and whether the client was the limit."""
    yield (
        f"{metrics.completed:,} of {metrics.sent:,} requests completed in {metrics.window_s:.1f} s: "
        f"{metrics.requests_per_s:.2f} requests/s, {metrics.tokens_per_s:,.1f} tokens/s."
    )
    if len(metrics.models) > 1:
        yield f"Served by {_served(metrics.models)}."
    for one in metrics.goodput:
        yield f"Goodput of {one.slo}: {one.share:.1%} of the requests, {one.per_s:.2f} a second."
    if metrics.cached_tokens:
        share = metrics.cached_tokens / max(1, metrics.input_tokens)
        yield f"{share:.0%} of the prompt tokens came from the server's prefix cache."
    if metrics.errors:
        yield f"Failed: {', '.join(f'{count} × {name}' for name, count in metrics.errors.items())}."
    if metrics.unfinished:
        yield f"{metrics.unfinished} requests had not ended: they count in no latency."
    if metrics.client_limited is not None:
        yield f"Beware: {metrics.client_limited}."
    if stopped is not None:
        yield f"Not complete: {stopped}."


def _served(models: Mapping[str, int]) -> str:
    """The models that answered most, and what the rest of a long list comes to."""
    shown = ", ".join(f"{model} ({count:,})" for model, count in islice(models.items(), TOP_MODELS))
    rest = list(models.values())[TOP_MODELS:]
    return f"{len(models):,} models: {shown}, and {len(rest):,} more ({sum(rest):,})" if rest else shown


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of cells as Markdown, without a line end behind the last."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def markdown(metrics: Metrics, *, stopped: str | None) -> str:
    """The table and its sentences."""
    return (
        markdown_table(HEAD, latency_rows(metrics))
        + "\n\n"
        + "\n".join(f"- {one}" for one in sentences(metrics, stopped=stopped))
        + "\n"
    )

"""The counts as figures, as a table and as a folder. `origin.json` is written last, as in every result."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cost.measure import LONG, REQUESTS, SHORT, Pass, Samples, Scenario
from benchmarks.origin import origin
from benchmarks.result import markdown_table

CHUNK = "chunk"
HEAD = ("", "chat, streamed", "chat, whole", "completions, streamed", "one chunk more")
COLUMNS = ("chat_stream", "chat", "completions_stream", CHUNK)
ROWS = {
    "calls": "calls",
    "allocations": "allocations",
    "allocated_bytes": "bytes allocated",
    "cpu_us_min": "CPU µs, least",
    "cpu_us_p50": "CPU µs, median",
    "bytes_to_engine": "bytes to engine",
    "bytes_from_engine": "bytes from engine",
    "bytes_to_client": "bytes to client",
}
TOP = 60

Summary = dict[str, dict[str, Any]]


def summarise(samples: Samples) -> Summary:
    """The figures of one request of each kind and of one chunk, and how far the blocks of one count lay apart."""
    summary: Summary = {one.name: _figures(samples, one) for one in REQUESTS}
    short, long = _figures(samples, SHORT), _figures(samples, LONG)
    more = LONG.chunks - SHORT.chunks
    summary[CHUNK] = {name: round((long[name] - short[name]) / more, 3) for name in long if name != "bytes_to_engine"}
    summary["spread"] = {
        one.name: {name: _spread(values) for name, values in samples.values[one.name].items()} for one in REQUESTS
    }
    return summary


def functions(samples: Samples, *, requests: int) -> dict[str, dict[str, float]]:
    """Which functions were called most, and how often: in one request of each kind, and for one chunk more.

    `requests`: how many there were in a block.
    """
    if not samples.functions:
        return {}
    more = samples.functions[LONG.name].copy()
    more.subtract(samples.functions[SHORT.name])
    found = {one.name: _top(samples.functions[one.name], requests) for one in REQUESTS}
    return {**found, CHUNK: _top(more, requests * (LONG.chunks - SHORT.chunks))}


def table_rows(summary: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, ...]]:
    """One row per figure, in the order of `HEAD`; what was not counted is a dash."""
    for name, label in ROWS.items():
        yield (label, *(_cell(summary[column].get(name)) for column in COLUMNS))


def config(passes: Sequence[Pass], *, profile: str, model: str) -> dict[str, Any]:
    """What was counted. Two results compare when they differ in `passes` alone."""
    requests = [asdict(one) for one in (*REQUESTS, SHORT, LONG)]
    return {
        "kind": "cost",
        "profile": profile,
        "model": model,
        "requests": requests,
        "passes": [asdict(one) for one in passes],
    }


def write(out: Path, samples: Samples, *, passes: Sequence[Pass], asked: Mapping[str, Any], started: float) -> None:
    """Everything of one count."""
    summary = summarise(samples)
    per_block = {one.kind: one.requests for one in passes}
    counted = {one.kind: one.blocks * one.requests * len(asked["requests"]) for one in passes}
    found = origin(config=asked, seeds=[], counts=counted, started=started)
    called = functions(samples, requests=per_block.get("calls", 1))
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (out / "functions.json").write_text(json.dumps(called, indent=1) + "\n")
    (out / "table.md").write_text(markdown_table(HEAD, table_rows(summary)) + "\n")
    (out / "origin.json").write_text(json.dumps({**found, "stopped": None}, indent=1) + "\n")


def _figures(samples: Samples, one: Scenario) -> dict[str, float]:
    """The median of the blocks; of processor time the least too, which other work on the machine moves least."""
    found: dict[str, float] = {}
    for name, values in samples.values[one.name].items():
        if name == "cpu_us":
            found |= {"cpu_us_min": round(min(values), 1), "cpu_us_p50": round(median(values), 1)}
        else:
            found[name] = round(median(values), 1)
    return found


def _spread(values: Sequence[float]) -> float:
    return round((max(values) - min(values)) / median(values), 5)


def _top(counted: Counter[str], per: int) -> dict[str, float]:
    return {name: round(count / per, 2) for name, count in counted.most_common(TOP)}


def _cell(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if value < 1000 and value % 1 else f"{value:,.0f}"

"""`python -m benchmarks.figures README.md`: writes the tables of a page from stored results, so no figure is by hand.

A block begins with `<!-- figures: NAME -->`, where NAME is a folder of `benchmarks/results`, and ends with
`<!-- end of figures -->`. What stands between is replaced.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.result import markdown_table

RESULTS = Path(__file__).parent / "results"
BLOCK = re.compile(r"(<!-- figures: ([\w.-]+) -->\n)(.*?)(<!-- end of figures -->)", re.DOTALL)
FIGURE = re.compile(r"\d(?:[\d,.]*\d)?\s?(?:ms|µs|×|%|tokens/s|requests/s|req/s)(?!\w)")
HEAD = ("load", "server", "tokens/s of {reference}", "TTFT p50 over {reference}", "CPU before the engine, per piece")


def rendered(page: str, results: Path = RESULTS) -> str:
    """The page with every block written anew; raises `FileNotFoundError` for a result that is not there."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{table(results / block[2])}\n\n{block[4]}", page)


def loose_figures(page: str) -> list[str]:
    """Figures of speed that no block holds: nobody can tell where they come from."""
    return FIGURE.findall(BLOCK.sub("", page))


def table(folder: Path) -> str:
    """A comparison's arms against its reference, and where they come from."""
    summary = json.loads((folder / "summary.json").read_text())
    origin = json.loads((folder / "origin.json").read_text())
    reference = summary["reference"]
    head = [name.format(reference=f"`{reference}`") for name in HEAD]
    rows = [_cells(row, reference) for row in summary["rows"] if row["arm"] != reference]
    return f"{markdown_table(head, rows)}\n\n{' '.join(_sentences(summary, origin, name=folder.name))}"


def _cells(row: Mapping[str, Any], reference: str) -> tuple[str, ...]:
    versus, cpu = row["versus"].get(reference), row["front_cpu_us_per_chunk"]
    return (
        row["load"],
        row["arm"],
        _interval(versus["throughput"], "{:.2f}×") if versus else "–",
        _interval(versus["ttft_gap_ms"], "{:+.1f} ms") if versus else "–",
        "absent" if cpu is None else f"{cpu:.0f} µs",
    )


def _interval(estimate: Mapping[str, float], form: str) -> str:
    low, middle, high = (form.format(estimate[name]) for name in ("low", "median", "high"))
    return f"{middle} ({low.split()[0].rstrip('×')} … {high.split()[0].rstrip('×')})"


def _sentences(summary: Mapping[str, Any], origin: Mapping[str, Any], *, name: str) -> Iterator[str]:
    yield from (f"`{arm}` did not start: {reason}." for arm, reason in summary["failed"].items())
    hardware = origin["hardware"]
    yield (
        f"[Everything of this run](benchmarks/results/{name}): {origin['started'][:10]}, "
        f"commit {origin['commit'][:12]}, "
        f"{hardware['processor']}, {hardware['cores']} cores; medians of {origin['counts']['rounds']} rounds with "
        "bootstrap 95 % intervals."
    )


def main(paths: list[str]) -> None:
    """Write the blocks of every page that is named."""
    for path in map(Path, paths):
        path.write_text(rendered(path.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])

"""The lengths of a file's examples as a PNG. Needs matplotlib: imported by whoever was asked for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from finetune.data.report import histogram

BINS = 40


def draw(lengths: Sequence[int], path: Path, *, max_length: int) -> None:
    """Write a histogram of token lengths, with a line where examples are cut; `OSError` when it cannot be written."""
    bins = histogram(lengths, bins=BINS)
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(
        [one.low for one in bins],
        [one.examples for one in bins],
        width=[one.high - one.low + 1 for one in bins],
        align="edge",
    )
    if bins and max_length <= bins[-1].high:
        axes.axvline(max_length, color="tab:red", linestyle="--", label=f"cut at {max_length:,} tokens")
        axes.legend()
    axes.set_xlabel("tokens of an example")
    axes.set_ylabel("examples")
    figure.savefig(path, format="png", dpi=150)

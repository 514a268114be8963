"""The gate's report as a picture: every difference with its bounds. Needs matplotlib, the extra `bench`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = (("passed", "#0d8a5f"), ("failed", "#b3261e"), ("not enough examples", "#8c6d00"))
WIDTH_IN, ROW_IN, FRAME_IN = 7.0, 0.4, 1.1


def differences_png(report: Mapping[str, Any]) -> bytes:
    """A PNG from the JSON of a report: per check the difference in points, its bounds, and 0."""
    checks = [check for check in report["checks"] if check["difference"] is not None]
    figure = Figure(figsize=(WIDTH_IN, FRAME_IN + ROW_IN * len(checks)), layout="constrained")
    FigureCanvasAgg(figure)
    axes, colours = figure.subplots(), dict(COLOURS)
    axes.axvline(0, color="#7a7a7a", linewidth=1)
    for row, check in enumerate(reversed(checks)):
        found = {name: 100 * check["difference"][name] for name in ("low", "mean", "high")}
        axes.plot([found["low"], found["high"]], [row, row], color=colours[check["outcome"]], linewidth=2)
        axes.plot([found["mean"]], [row], marker="o", color=colours[check["outcome"]])
    axes.set_yticks(range(len(checks)), [check["name"] for check in reversed(checks)])
    axes.set_ylim(-0.6, len(checks) - 0.4)
    axes.set_xlabel("candidate minus the other, points")
    axes.set_title("passed" if report["passed"] else "did not pass")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return out.getvalue()

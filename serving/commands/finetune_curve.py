"""A training's loss over its steps, as text for a terminal and as a PNG. Reads events; owns no figure.

matplotlib is imported when a PNG is asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ConfigurationError

WIDTH, HEIGHT = 64, 12
INCHES = (8, 4.5)
DPI = 120
Point = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """Losses by step: of each step, and of each look at the validation file."""

    train: Sequence[Point]
    valid: Sequence[Point]

    def __bool__(self) -> bool:
        return bool(self.train or self.valid)


def curve_of(events: Iterable[dict[str, Any]]) -> Curve:
    """The losses in a job's events. Where a step was trained twice, after a lost worker, the later one counts."""
    found: dict[str, dict[int, float]] = {"train_loss": {}, "valid_loss": {}}
    for event in events:
        data = event.get("data") or {}
        if event.get("type") != "metrics" or not isinstance(data.get("step"), int):
            continue
        for name, points in found.items():
            if isinstance(data.get(name), (int, float)):
                points[data["step"]] = float(data[name])
    return Curve(sorted(found["train_loss"].items()), sorted(found["valid_loss"].items()))


def drawn(curve: Curve, *, width: int = WIDTH, height: int = HEIGHT) -> str:
    """The curve in characters: `·` the mean training loss of the steps in a column, `o` a look at the validation
    file; empty where nothing was measured.
    """
    if not curve:
        return ""
    points = [*curve.train, *curve.valid]
    last = max(step for step, _ in points)
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    cells = [[" "] * width for _ in range(height)]
    for sign, marked in (("·", curve.train), ("o", curve.valid)):
        for column, loss in _columns(marked, last=last, width=width).items():
            row = 0 if high == low else round((high - loss) / (high - low) * (height - 1))
            cells[row][column] = sign
    names = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    lines = [f"{names.get(at, ''):>8} ┤{''.join(row).rstrip()}" for at, row in enumerate(cells)]
    foot = f"{'':>8} └{'─' * width}\n{'':>10}1{last:>{width - 1},}  step;  · training loss"
    return "\n".join(lines) + f"\n{foot}{'  o validation loss' if curve.valid else ''}"


def save_png(curve: Curve, to: Path, *, title: str) -> None:
    """The curve as a picture. Raises `ConfigurationError` where it cannot be drawn or written."""
    if to.suffix != ".png":
        raise ConfigurationError(f"{str(to)!r} does not end in .png. Name the picture: --plot loss.png.")
    if not curve:
        raise ConfigurationError("The job has no losses yet: there is nothing to draw.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "A picture is drawn with matplotlib: install the extra 'bench' of penstock."
        ) from error
    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for points, name, style in ((curve.train, "training", "-"), (curve.valid, "validation", "o-")):
        if points:
            axes.plot([step for step, _ in points], [loss for _, loss in points], style, label=name, linewidth=1.2)
    axes.set(xlabel="step", ylabel="loss", title=title)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(to, dpi=DPI)


def _columns(points: Iterable[Point], *, last: int, width: int) -> dict[int, float]:
    """Column → the mean of its losses."""
    found: dict[int, list[float]] = defaultdict(list)
    for step, loss in points:
        found[min(width - 1, (max(step, 1) - 1) * width // max(1, last))].append(loss)
    return {column: sum(losses) / len(losses) for column, losses in found.items()}

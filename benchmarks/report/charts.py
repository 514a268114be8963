"""The kinds of picture: lines over an axis, intervals around a line, a budget of stages. Pure: data in, SVG out.

Everything is drawn small, so that it is readable at the width of a phone; a page sets several beside each other. What
a series is called stands in the page's legend, and is told by colour, marker and dash alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from benchmarks.report.svg import BAD, INK, MUTED, RULE, SERIES, inline, series_colour

WIDTH, HEIGHT = 420, 264
ROW, FRAME = 25, 78
MARKERS = ("o", "s", "^", "D", "v", "P")
LONGEST_NAME = 40
LOG_FROM, STEEP = 12.0, 40.0
SIGNS = "–—−…’×≤"
STYLE: Mapping[Any, Any] = MappingProxyType(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "penstock",
        "text.parse_math": False,
        "font.size": 11,
        "text.color": INK,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "axes.titlecolor": INK,
        "axes.titlesize": 12,
        "axes.titlelocation": "left",
        "axes.titlepad": 9,
        "axes.titleweight": "bold",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.linewidth": 0.8,
        "axes.xmargin": 0.03,
        "grid.color": RULE,
        "grid.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 11,
        "ytick.labelsize": 11,
        "ytick.major.size": 0,
        "xtick.major.size": 3,
        "lines.linewidth": 1.8,
        "lines.markersize": 5.5,
    }
)


@dataclass(frozen=True, slots=True)
class Line:
    """One series. `style` chooses colour and marker; None is the colour of failures."""

    xs: Sequence[float]
    ys: Sequence[float]
    style: int | None = 0
    dashed: bool = False
    shape: str = "line"
    """`line`, `points` (a line through marked points), `sparse` (a line with a few markers),
    `marks` (points alone), `area` (steps, filled)."""
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the picture, with its words. `upright`: at a value of x, else of y."""

    at: float
    text: str
    upright: bool = True


@dataclass(frozen=True, slots=True)
class Scale:
    """What the axes say. `share`: y runs from 0 to 1 and reads as per cent."""

    title: str
    x: str
    log_x: bool = False
    log_y: bool = False
    share: bool = False
    whole: bool = False
    inside: tuple[float, float] | None = None
    """The part of x that counts; what lies outside is shaded."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A median with its bounds, in a row of its own."""

    name: str
    median: float
    low: float
    high: float
    style: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a budget, from where the ones before it end."""

    name: str
    begin: float
    width: float
    total: bool = False


def marker_of(style: int) -> str:
    """The marker of a series in matplotlib's letters; where colours come again, it is another one."""
    return MARKERS[(style + style // SERIES) % len(MARKERS)]


def is_wide(values: Sequence[float], *, factor: float = LOG_FROM) -> bool:
    """Whether a logarithmic axis shows more of these."""
    positive = [value for value in values if value > 0]
    return len(positive) == len(values) > 0 and max(positive) / min(positive) > factor


def lines(series: Sequence[Line], *, scale: Scale, name: str, label: str, marks: Sequence[Mark] = ()) -> str:
    """Series over one axis."""
    with _drawing(HEIGHT) as (figure, axes):
        for number, one in enumerate(series):
            _line(axes, one, number=number)
        _scale(axes, scale, xs=[x for one in series for x in one.xs], ys=[y for one in series for y in one.ys])
        for mark in marks:
            _mark(axes, mark, below=scale.share)
        return inline(figure, name=name, label=label)


def intervals(rows: Sequence[Interval], *, scale: Scale, line: float, name: str, label: str) -> str:
    """A forest: every row's median and bounds, and the line where there is no difference."""
    with _drawing(FRAME + ROW * len(rows)) as (figure, axes):
        for at, row in enumerate(rows):
            colour = series_colour(row.style)
            axes.plot([row.low, row.high], [at, at], color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot([row.median], [at], color=colour, marker=marker_of(row.style), markersize=7)
        axes.axvline(line, color=INK, linewidth=1.1, dashes=(4, 3))
        _names(axes, [row.name for row in rows])
        axes.set_title(scale.title)
        axes.set_xlabel(scale.x)
        axes.margins(x=0.08)
        return inline(figure, name=name, label=label)


def budget(stages: Sequence[Stage], *, scale: Scale, closing: Mark, name: str, label: str) -> str:
    """Stages one after the other, as steps, and the line that they have to reach."""
    beside = 0.16 * max((stage.begin + stage.width for stage in stages), default=0.0)
    with _drawing(FRAME + ROW * len(stages)) as (figure, axes):
        for at, stage in enumerate(stages):
            axes.barh(at, stage.width, left=stage.begin, height=0.62, color=series_colour(1 if stage.total else 0))
            end = max(stage.begin, stage.begin + stage.width)
            end = closing.at if 0 <= closing.at - end < beside else end  # a figure does not stand on the line
            axes.annotate(f"{stage.width:.3g}", (end, at), (4, 0), textcoords="offset points", va="center", fontsize=10)
        axes.axvline(closing.at, color=INK, linewidth=1.1, dashes=(4, 3))
        _names(axes, [stage.name for stage in stages])
        axes.set_title(scale.title)
        axes.set_xlabel(scale.x)
        axes.margins(x=0.14)
        return inline(figure, name=name, label=label)


@contextmanager
def _drawing(height: float) -> Iterator[tuple[Figure, Axes]]:
    """An empty picture in our style, whatever the user's own settings of matplotlib are; 72 dots are an inch."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for key, value in STYLE.items():
            matplotlib.rcParams[key] = value
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
        yield figure, figure.add_subplot()


def _line(axes: Axes, one: Line, *, number: int) -> None:
    colour = BAD if one.style is None else series_colour(one.style)
    if one.shape == "area":
        axes.stairs(one.ys, one.xs, fill=True, color=colour, alpha=0.18, linewidth=0)
        axes.stairs(one.ys, one.xs, color=colour, linewidth=1.4, baseline=None)
        return
    marker = "none" if one.shape == "line" else marker_of(one.style or 0)
    axes.plot(
        one.xs,
        one.ys,
        color=colour,
        marker=marker,
        markerfacecolor="none" if one.hollow else colour,
        linestyle="none" if one.shape == "marks" else (0, (4, 2)) if one.dashed else "-",
        markevery=(0.05 + 0.03 * (number % 5), 0.2) if one.shape == "sparse" else None,
        zorder=3 + number / 100,
    )


def _scale(axes: Axes, scale: Scale, *, xs: Sequence[float], ys: Sequence[float]) -> None:
    axes.set_title(scale.title)
    axes.set_xlabel(scale.x)
    if scale.log_x:
        axes.set_xscale("log")
        _logarithmic(axes.xaxis, xs)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    if scale.inside is not None:
        begin, end = scale.inside
        _shade(axes, begin, end=end)
    if scale.share:
        axes.set_ylim(-0.02, 1.04)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
        return
    if scale.log_y:
        axes.set_yscale("log")
        _logarithmic(axes.yaxis, ys)
    else:
        axes.set_ylim(0, 1.08 * max((y for y in ys if math.isfinite(y)), default=0.0) or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=scale.whole))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _logarithmic(axis: Axis, values: Sequence[float]) -> None:
    """Round values as ticks, and no others."""
    decades = max(values) / min(values) > 100
    axis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _shade(axes: Axes, begin: float, *, end: float) -> None:
    """What does not count, at both ends of the axis."""
    left, right = axes.get_xlim()
    left = min(left, 0.0)
    for low, high in ((left, begin), (end, right)):
        if high > max(low, 0.0):
            axes.axvspan(low, high, color=RULE, alpha=0.55, linewidth=0, zorder=0)
    axes.set_xlim(0.0, right)


def _mark(axes: Axes, mark: Mark, *, below: bool) -> None:
    place: dict[str, Any] = {"color": INK, "linewidth": 1.0, "dashes": (4, 3), "zorder": 2.5}
    if mark.upright:
        axes.axvline(mark.at, **place)
        axes.annotate(
            mark.text, (mark.at, 0.03), (5, 0), xycoords=("data", "axes fraction"), textcoords="offset points"
        )
    else:
        axes.axhline(mark.at, **place)
        axes.annotate(
            mark.text,
            (0.0, mark.at),
            (4, -5 if below else 4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="top" if below else "bottom",
        )


def _names(axes: Axes, names: Sequence[str]) -> None:
    """Rows from top to bottom, each with its name."""
    axes.set_yticks(range(len(names)), [_plain(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelcolor=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _plain(text: str) -> str:
    """A name that fits and that the font can write; the table beside the picture has the whole of it."""
    plain = "".join(
        letter if letter.isprintable() and (ord(letter) < 0x250 or letter in SIGNS) else "?" for letter in text
    )
    return plain if len(plain) <= LONGEST_NAME else f"{plain[: LONGEST_NAME - 15]}…{plain[-14:]}"

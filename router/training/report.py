"""An assessment as JSON, as Markdown, and as two pictures: what quality costs, and whether the forecasts hold.

Owns the words and the pictures; counts nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from router.evaluate import Estimated
from router.training.assess import Assessment

OURS, OTHERS = "#0b63a5", ("#7a7a7a", "#b3541e", "#0d8a5f", "#a83c86", "#8c6d00")
HEAD = ("router", "APGR", "CPT50", "CPT80")


def as_json(found: Assessment) -> dict[str, Any]:
    """Top level: `apgr`, `cpt50`, `cpt80`, `ece`, each with `…_interval` beside it (null where there is none).

    That of `ece` says what other sets of as many prompts show; `ece_corrected` and its interval are without what chance
    adds to it in them.
    """
    return {
        **_row({**found.router, "ece": found.ece.plain, "ece_corrected": found.ece.corrected}),
        "way": found.way,
        "prompts": found.prompts,
        "units": found.units,
        "trained_on": found.trained_on,
        "warnings": list(found.warnings),
        "data_digest": found.data_digest,
        "quality": dict(zip(found.names, found.quality, strict=True)),
        "ece_by_tier": dict(found.ece_by_tier),
        "share_error": share_error(found),
        "others": {name: _row(row) for name, row in found.others.items()},
        "groups": {name: asdict(one) for name, one in found.groups.items()},
    }


def share_error(found: Assessment) -> dict[str, float]:
    """How far the large-tier shares came out from those asked for, 0…1: the `mean` over shares and folds, the mean over
    folds of the `worst_share`, the `worst` of all shares and folds, and the mean over shares of the error of all folds
    `together`, where too much in one makes good too little in another."""
    off = [[abs(error) for error in errors] for errors in found.share_errors.values()]
    means = [sum(errors) / len(errors) for errors in off]
    together = [abs(sum(errors)) / len(errors) for errors in found.share_errors.values()]
    return {
        "mean": sum(means) / len(means),
        "worst_share": max(means),
        "worst": max(max(errors) for errors in off),
        "together": sum(together) / len(together),
    }


def markdown(found: Assessment) -> str:
    """A table of the router and the baselines, and what it rests on."""
    rows = {"this router": found.router, **found.others}
    lines = ["| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD)]
    for name, row in rows.items():
        lines.append(f"| {name} | {_told(row['apgr'])} | {_percent(row['cpt50'])} | {_percent(row['cpt80'])} |")
    small, large = found.names
    shares, folds = share_error(found), len(next(iter(found.share_errors.values())))
    lines += [
        "",
        f"{found.prompts:,} prompts, {found.way}; {small} answers {found.quality[0]:.1%} of them well, {large}"
        f" {found.quality[1]:.1%}. In brackets: bootstrap 95 % intervals over {_over(found)}.",
        "",
        f"- ECE of the expected qualities: {_told(found.ece.plain)},"
        f" {', '.join(f'{name} {value:.3f}' for name, value in found.ece_by_tier.items())}; without what chance adds"
        f" to it {_told(found.ece.corrected)}.",
        f"- A threshold for a share of large calls: off by {shares['mean']:.1%} on average, {shares['worst_share']:.1%}"
        f" for the worst share{_over_folds(found)}.",
        "- APGR: area under the part of the quality gap that is recovered, over the share of large calls. CPT50: the"
        " share of large calls that recovers half of the gap.",
    ]
    if found.grouped and folds > 1:
        lines.append(
            f"- The groups of a fold are others than those that its thresholds were set by. Over all folds together a"
            f" share is off by {shares['together']:.1%}: the rest is how groups differ, which no threshold foretells."
        )
    lines += [f"- {sentence}" for sentence in found.warnings]
    if found.groups:
        lines += ["", *_grouped(found)]
    return "\n".join(lines) + "\n"


def write_report(found: Assessment, folder: Path) -> None:
    """`report.json`, `report.md`, `quality-over-cost.png` and `reliability.png` (and both as SVG)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(
        f"{markdown(found)}\n![quality over cost](quality-over-cost.png)\n\n![reliability](reliability.png)\n"
    )
    for name, draw in (("quality-over-cost", _cost), ("reliability", _reliability)):
        figure = Figure(figsize=(7, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.add_subplot(), found)
        for kind in ("png", "svg"):
            figure.savefig(folder / f"{name}.{kind}", dpi=140)
    (folder / "report.json").write_text(json.dumps(as_json(found), indent=1, allow_nan=False) + "\n")


def _row(row: Mapping[str, Estimated]) -> dict[str, Any]:
    values = {name: one.value for name, one in row.items()}
    return {**values, **{f"{name}_interval": _interval(one) for name, one in row.items()}}


def _interval(one: Estimated) -> list[float] | None:
    return None if math.isnan(one.low) else [one.low, one.high]


def _over(found: Assessment) -> str:
    """What the intervals draw whole."""
    if found.grouped:
        return f"{found.units:,} whole groups"
    return "prompts" if found.units == found.prompts else f"{found.units:,} different prompts"


def _over_folds(found: Assessment) -> str:
    if all(len(errors) == 1 for errors in found.share_errors.values()):
        return ""
    return f" (mean over folds), {share_error(found)['worst']:.1%} for the worst share of the worst fold"


def _grouped(found: Assessment) -> list[str]:
    lines = ["| group | prompts | APGR | small | large |", "| --- | --- | --- | --- | --- |"]
    for name, group in found.groups.items():
        shown = "–" if group.apgr is None else f"{group.apgr:.2f}"
        lines.append(f"| {name} | {group.count} | {shown} | {group.weak:.2f} | {group.strong:.2f} |")
    return lines


def _cost(axes: Axes, found: Assessment) -> None:
    colours: Mapping[str, str] = dict(zip(found.others, OTHERS, strict=False))
    for name, line in found.curves.items():
        ours = name == "router"
        label = (
            f"{'this router' if ours else name} ({(found.router if ours else found.others[name])['apgr'].value:.3f})"
        )
        width, colour = (2.2, OURS) if ours else (1.2, colours.get(name, OTHERS[0]))
        style = "--" if name in ("random", "oracle") else "-"
        axes.plot(line.share, line.quality, style, color=colour, linewidth=width, label=label, zorder=3 if ours else 2)
    axes.set_xlabel(f"share of calls to {found.names[1]}")
    axes.set_ylabel("mean quality")
    axes.set_title("What quality costs (APGR in brackets)", fontsize=11)
    axes.grid(color="#e4e4e4")
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _reliability(axes: Axes, found: Assessment) -> None:
    axes.plot([0, 1], [0, 1], "--", color=OTHERS[0], linewidth=1, label="what is said holds")
    for (name, bins), colour in zip(found.bins.items(), (OURS, OTHERS[1]), strict=True):
        sizes = [12 + 200 * one.count / found.prompts for one in bins]
        said, seen = [one.predicted for one in bins], [one.observed for one in bins]
        axes.plot(said, seen, color=colour, linewidth=1)
        axes.scatter(said, seen, s=sizes, color=colour, label=f"{name} (ECE {found.ece_by_tier[name]:.3f})", zorder=3)
    axes.set_xlabel("expected quality")
    axes.set_ylabel("quality seen")
    axes.set_title("Do the forecasts hold? (area: how many prompts)", fontsize=11)
    axes.grid(color="#e4e4e4")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _told(one: Estimated) -> str:
    return f"{one.value:.3f} ({'no interval' if math.isnan(one.low) else f'{one.low:.3f} … {one.high:.3f}'})"


def _percent(one: Estimated) -> str:
    return f"{one.value:.0%} ({'no interval' if math.isnan(one.low) else f'{one.low:.0%} … {one.high:.0%}'})"

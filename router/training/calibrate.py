"""From a target to a threshold: a share of large calls, a floor of quality, or a ceiling of cost.

Owns the three ways and what is said of the result; the shares are those of prompts held out in training, the quality
that of labelled prompts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigurationError
from router.manifest import PolicyName
from router.model import ALWAYS_LARGE, ALWAYS_SMALL, Prompts, RouterModel
from router.training.data import Labelled
from router.training.doubts import remembered

STEPS = tuple(at / 20 for at in range(21))
OFF = 0.01
"""A share that comes out farther than this from the wanted one is said: quantiles are kept by the hundredth."""


@dataclass(frozen=True, slots=True)
class Point:
    """A threshold, the share of large calls that it foretells, and the quality seen at it (None without labels)."""

    share: float
    threshold: float
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The threshold for a target, the share that it brings, and the curve that it lies on.

    `trained_on`: how many of the labelled prompts the model had been trained on (None without labels). `warnings` says
    that, and a share that is not the one asked for.
    """

    target: str
    policy: PolicyName
    threshold: float
    share: float
    quality: float | None
    trained_on: int | None
    warnings: tuple[str, ...]
    curve: tuple[Point, ...]


def for_share(model: RouterModel, share: float, *, policy: PolicyName = "learned") -> Calibration:
    """The threshold from which on `share` (0…1) of the calls go to the large tier, and the share that comes out of it
    where gains are equal."""
    threshold = model.threshold_for(share, policy)
    came = model.share_at(threshold, policy)
    said = "" if abs(came - share) <= OFF else f"Prompts of equal gain go together: {came:.1%}, not {share:.1%}."
    return Calibration(
        target=f"large share {share:.1%}",
        policy=policy,
        threshold=threshold,
        share=came,
        quality=None,
        trained_on=None,
        warnings=(said,) if said else (),
        curve=_curve(model, policy),
    )


def for_cost(model: RouterModel, ceiling: float, *, small_price: float, policy: PolicyName = "learned") -> Calibration:
    """The largest share of large calls that costs at most `ceiling` × always-large.

    `small_price`: a small call's price as a share of a large one's. Raises `ConfigurationError` for a ceiling that even
    always-small is above.
    """
    if ceiling < small_price:
        raise ConfigurationError(
            f"Always-small costs {small_price:.1%} of always-large: above the ceiling of {ceiling:.1%}."
        )
    share = 1.0 if small_price >= 1 else min(1.0, (ceiling - small_price) / (1 - small_price))
    threshold = model.threshold_for(share, policy)
    if model.share_at(threshold, policy) > share + 1e-9:  # prompts of equal gain: without all of them
        threshold = float(np.nextafter(threshold, np.inf))
    found = for_share(model, share, policy=policy)
    came = model.share_at(threshold, policy)
    said = (
        "" if abs(came - share) <= OFF else f"Prompts of equal gain go together: {came:.1%}, {share:.1%} is paid for."
    )
    return replace(
        found,
        target=f"cost at most {ceiling:.1%} of always-large's",
        threshold=threshold,
        share=came,
        warnings=(said,) if said else (),
    )


def for_quality(
    model: RouterModel, floor: float, *, seen: tuple[Prompts, Labelled], policy: PolicyName = "learned"
) -> Calibration:
    """The smallest share of large calls at which labelled prompts keep `floor` (0…1) of always-large's quality."""
    prompts, labelled = seen
    gain = model.score(prompts, policy).gain
    candidates = np.concatenate(([ALWAYS_SMALL], np.unique(gain)[:0:-1], [ALWAYS_LARGE]))
    found = [_point(threshold, gain=gain, labelled=labelled) for threshold in candidates]
    wanted = floor * labelled.strong.mean() - 1e-12
    chosen = next((point for point in found if point.quality is not None and point.quality >= wanted), None)
    if chosen is None:
        raise ConfigurationError(f"No threshold keeps {floor:.1%} of always-large's quality on this data.")
    points = tuple(min(found, key=lambda point: abs(point.share - step)) for step in STEPS)
    return Calibration(
        target=f"at least {floor:.1%} of always-large's quality",
        policy=policy,
        threshold=chosen.threshold,
        share=chosen.share,
        quality=chosen.quality,
        trained_on=int(model.trained_on(labelled.prompts).sum()),
        warnings=remembered(model, labelled),
        curve=tuple(dict.fromkeys(points)),
    )


def _curve(model: RouterModel, policy: PolicyName) -> tuple[Point, ...]:
    thresholds = dict.fromkeys(model.threshold_for(step, policy) for step in STEPS)
    return tuple(Point(model.share_at(threshold, policy), threshold) for threshold in thresholds)


def _point(threshold: float, *, gain: NDArray[np.float64], labelled: Labelled) -> Point:
    """What happens at this threshold: nothing between two prompts is assumed."""
    large = gain >= threshold
    quality = np.where(large, labelled.strong, labelled.weak).mean()
    return Point(float(large.mean()), float(threshold), float(quality))


def with_threshold(model: RouterModel, threshold: float, *, policy: PolicyName = "learned") -> RouterModel:
    """The model with this threshold in its manifest, beside those of other policies."""
    thresholds = {**model.manifest.thresholds, policy: threshold}
    return replace(model, manifest=model.manifest.model_copy(update={"thresholds": thresholds}))


def as_json(found: Calibration) -> dict[str, Any]:
    """As `--json` prints it."""
    return asdict(found)


def markdown(found: Calibration) -> str:
    """The threshold, and the curve around it."""
    quality = "" if found.quality is None else f", quality {found.quality:.3f}"
    lines = [f"Threshold {found.threshold:.4f} for {found.target}: {found.share:.1%} large calls{quality}.", ""]
    lines += ["| large share | threshold | quality |", "| --- | --- | --- |"]
    for point in found.curve:
        shown = "–" if point.quality is None else f"{point.quality:.3f}"
        lines.append(f"| {point.share:.0%} | {point.threshold:.4f} | {shown} |")
    return "\n".join(lines)

"""From a target to a threshold: a share of large calls, a floor of quality, or a ceiling of cost.

Owns the three ways and what each promises; the shares are those of prompts held out in training, the quality that of
labelled prompts (`floor.py`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from models.errors import ConfigurationError
from router.evaluate import Outcomes
from router.manifest import PolicyName
from router.model import ALWAYS_LARGE, Prompts, RouterModel
from router.resampling import numbered
from router.training.data import Labelled
from router.training.doubts import against
from router.training.floor import CONFIDENCE, Judged, Kept, candidates, keep

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

    `promise` says in a sentence what of the target can be relied on. With labels: `kept`, the quality as a share of
    always-large's, `kept_low`, what it is at least with `confidence`, and `again`, the probability that as many other
    prompts keep the floor (each None without). `trained_on`: how many of the labelled prompts the model had been
    trained on (None without labels). `warnings` says that, and a share that is not the one asked for.
    """

    target: str
    promise: str
    policy: PolicyName
    threshold: float
    share: float
    quality: float | None
    trained_on: int | None
    warnings: tuple[str, ...]
    curve: tuple[Point, ...]
    kept: float | None = None
    kept_low: float | None = None
    confidence: float | None = None
    again: float | None = None


def for_share(model: RouterModel, share: float, *, policy: PolicyName = "learned") -> Calibration:
    """The threshold from which on `share` (0…1) of the calls go to the large tier, and the share that comes out of it
    where gains are equal."""
    threshold = model.threshold_for(share, policy)
    came = model.share_at(threshold, policy)
    said = "" if abs(came - share) <= OFF else f"Prompts of equal gain go together: {came:.1%}, not {share:.1%}."
    return Calibration(
        target=f"large share {share:.1%}",
        promise="This is the share of prompts like the training ones. Others come out otherwise: `penstock router"
        " status` shows the share of the traffic.",
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

    `small_price`: a small call's price as a share of a large one's. What is promised is the mean over prompts like the
    training ones, at that price whatever a prompt's length. Raises `ConfigurationError` for a ceiling that even
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
    cost = came + (1 - came) * small_price
    said = (
        "" if abs(came - share) <= OFF else f"Prompts of equal gain go together: {came:.1%}, {share:.1%} is paid for."
    )
    return replace(
        found,
        target=f"cost at most {ceiling:.1%} of always-large's",
        promise=f"On average over prompts like the training ones calls cost {cost:.1%} of always-large's, if a small"
        f" call costs {small_price:.1%} of a large one whatever its length. It is no limit: other prompts bring another"
        " share, and nothing stops at the ceiling.",
        threshold=threshold,
        share=came,
        warnings=(said,) if said else (),
    )


def for_quality(
    model: RouterModel,
    floor: float,
    *,
    seen: tuple[Prompts, Labelled],
    policy: PolicyName = "learned",
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Calibration:
    """The smallest share of large calls that is sure to keep `floor` (0…1) of always-large's quality, with this
    `confidence` (0…1), on prompts like these labelled ones; groups and equal prompts count as one piece each."""
    prompts, labelled = seen
    judged = Judged(
        model.score(prompts, policy).gain, Outcomes(labelled.weak, labelled.strong), numbered(labelled.units)
    )
    found = keep(judged, floor, confidence=confidence, seed=seed)
    points = [_point(threshold, judged) for threshold in reversed(candidates(judged.gain))]
    nearest = (min(points, key=lambda point: abs(point.share - step)) for step in STEPS)
    return Calibration(
        target=f"at least {floor:.1%} of always-large's quality",
        promise=_promise(found, floor, confidence=confidence, count=len(labelled)),
        policy=policy,
        threshold=found.threshold,
        share=found.share,
        quality=found.quality,
        trained_on=int(model.trained_on(labelled.prompts).sum()),
        warnings=against(model, labelled),
        curve=tuple(dict.fromkeys(nearest)),
        kept=found.kept,
        kept_low=found.low,
        confidence=confidence,
        again=found.again,
    )


def _promise(found: Kept, floor: float, *, confidence: float, count: int) -> str:
    if found.threshold == ALWAYS_LARGE:
        return (
            f"Always-large: of no smaller share do these {count:,} prompts show that it keeps {floor:.1%}, with"
            f" {confidence:.0%} confidence. More labelled prompts or less confidence may find a smaller one."
        )
    return (
        f"On average over prompts like these it keeps {found.low:.1%} of always-large's quality or more, with"
        f" {confidence:.0%} confidence; on these it kept {found.kept:.1%}. Another {count:,} of them by"
        f" themselves keep the floor with a probability of {found.again:.0%}."
    )


def _curve(model: RouterModel, policy: PolicyName) -> tuple[Point, ...]:
    thresholds = dict.fromkeys(model.threshold_for(step, policy) for step in STEPS)
    return tuple(Point(model.share_at(threshold, policy), threshold) for threshold in thresholds)


def _point(threshold: float, judged: Judged) -> Point:
    """What happens at this threshold: nothing between two prompts is assumed."""
    share = np.mean(judged.gain >= threshold)
    return Point(float(share), threshold, float(judged.quality(threshold).mean()))


def with_threshold(model: RouterModel, threshold: float, *, policy: PolicyName = "learned") -> RouterModel:
    """The model with this threshold in its manifest, beside those of other policies."""
    thresholds = {**model.manifest.thresholds, policy: threshold}
    return replace(model, manifest=model.manifest.model_copy(update={"thresholds": thresholds}))


def as_json(found: Calibration) -> dict[str, Any]:
    """As `--json` prints it."""
    return asdict(found)


def markdown(found: Calibration) -> str:
    """The threshold, what it promises, and the curve around it."""
    quality = "" if found.quality is None else f", quality {found.quality:.3f}"
    lines = [f"Threshold {found.threshold:.4f} for {found.target}: {found.share:.1%} large calls{quality}."]
    lines += [found.promise, ""]
    lines += ["| large share | threshold | quality |", "| --- | --- | --- |"]
    for point in found.curve:
        shown = "–" if point.quality is None else f"{point.quality:.3f}"
        lines.append(f"| {point.share:.0%} | {point.threshold:.4f} | {shown} |")
    return "\n".join(lines)

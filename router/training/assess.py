"""How good a router is on prompts that it has not seen, beside the baselines, with intervals.

Two ways: by cross-validation on labelled data (a model is trained for each fold, so nothing is judged on what it
learned from), or of a model that was trained before. Owns no formula; those are in `router/evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.evaluate import (
    SHARES,
    Bin,
    Curve,
    Estimated,
    Group,
    Outcomes,
    bootstrap,
    curve,
    evaluate,
    expected_calibration_error,
    groupwise,
    reliability,
    share_at,
)
from router.model import Prompts, RouterModel
from router.training.baselines import trained, untrained
from router.training.data import Labelled
from router.training.fit import Recipe, train
from router.training.folds import FOLDS, splits

Doubles = NDArray[np.float64]

STEPS = FOLDS * (FOLDS + 1)
"""How often `Recipe.heard` is called by `crossvalidate`."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything that a report shows. Shares and qualities within 0…1.

    `router` and each row of `others`: `apgr`, `cpt50`, `cpt80` with intervals. `ece` is over both tiers' expected
    qualities together, `ece_by_tier` apart. `share_errors`: wanted large share → how far it came out, mean over folds.
    """

    way: str
    prompts: int
    data_digest: str
    names: tuple[str, str]
    quality: tuple[float, float]
    router: Mapping[str, Estimated]
    ece: Estimated
    ece_by_tier: Mapping[str, float]
    share_errors: Mapping[float, float]
    others: Mapping[str, Mapping[str, Estimated]]
    curves: Mapping[str, Curve]
    bins: Mapping[str, Sequence[Bin]]
    groups: Mapping[str, Group]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was foretold of the prompts, row by row, and how the shares came out."""

    gain: Doubles
    small: Doubles
    large: Doubles
    share_errors: Mapping[float, float]
    others: Mapping[str, Doubles]


def crossvalidate(prompts: Prompts, labelled: Labelled, *, recipe: Recipe) -> Assessment:
    """Judge the recipe on this data: each prompt by a model that never saw it, nor its group where there are groups.

    Scores are ranked over all folds without the mean gain of each fold's training prompts: that mean is high where the
    held-out one is low, and would rank a router that knows nothing below chance. Thresholds for the shares are set by
    what the training prompts of each fold say. Raises `ValueError` where the large
    tier is no better than the small one.
    """
    gain, small, large = (np.zeros(len(labelled)) for _ in range(3))
    others: dict[str, Doubles] = {}
    errors: dict[float, list[float]] = {share: [] for share in SHARES}
    for rest, held in splits(labelled.units, seed=recipe.seed):
        model = train(prompts.take(rest), labelled.take(rest), recipe=recipe).model
        scores = model.score(prompts.take(held))
        middle = (labelled.strong[rest] - labelled.weak[rest]).mean()
        gain[held], small[held], large[held] = scores.gain - middle, scores.small, scores.large
        known = (prompts.take(rest), prompts.take(held))
        texts = (labelled.take(rest).prompts, labelled.take(held).prompts)
        for name, found in trained(known, texts, gain=labelled.strong[rest] - labelled.weak[rest]).items():
            others.setdefault(name, np.zeros(len(labelled)))[held] = found - middle
        for share, found_errors in errors.items():
            found_errors.append(share_at(scores.gain, threshold=model.threshold_for(share)) - share)
    shares = {share: float(np.mean(np.abs(found))) for share, found in errors.items()}
    grouped = "" if labelled.groups is None else ", whole groups held out"
    seen = _Seen(gain, small, large, shares, others)
    return _assessed(labelled, seen, way=f"{FOLDS}-fold cross-validation{grouped}", seed=recipe.seed)


def judge(model: RouterModel, prompts: Prompts, *, labelled: Labelled, seed: int = 0) -> Assessment:
    """Judge a trained model on other data than it was trained on; raises as `crossvalidate` does."""
    scores = model.score(prompts)
    shares = {share: abs(share_at(scores.gain, threshold=model.threshold_for(share)) - share) for share in SHARES}
    seen = _Seen(scores.gain, scores.small, scores.large, shares, {})
    return _assessed(labelled, seen, way="a model trained before", seed=seed)


def _assessed(labelled: Labelled, seen: _Seen, *, way: str, seed: int) -> Assessment:
    outcomes = Outcomes(labelled.weak, labelled.strong)
    others = {**seen.others, **untrained(labelled, seed=seed)}
    foretold = {labelled.names[0]: (seen.small, labelled.weak), labelled.names[1]: (seen.large, labelled.strong)}
    both = np.concatenate([seen.small, seen.large]), np.concatenate([labelled.weak, labelled.strong])
    return Assessment(
        way=way,
        prompts=len(labelled),
        data_digest=labelled.digest,
        names=labelled.names,
        quality=(float(labelled.weak.mean()), float(labelled.strong.mean())),
        router=evaluate(seen.gain, outcomes, seed=seed),
        ece=_calibration(*both, seed=seed),
        ece_by_tier={name: expected_calibration_error(*pair) for name, pair in foretold.items()},
        share_errors=seen.share_errors,
        others={name: evaluate(scores, outcomes, seed=seed) for name, scores in others.items()},
        curves={name: curve(scores, outcomes) for name, scores in {"router": seen.gain, **others}.items()},
        bins={name: reliability(*pair) for name, pair in foretold.items()},
        groups={} if labelled.groups is None else groupwise(seen.gain, outcomes, groups=labelled.groups),
    )


def _calibration(predicted: Doubles, observed: Doubles, *, seed: int) -> Estimated:
    def again(rows: NDArray[np.int64]) -> float:
        return expected_calibration_error(predicted[rows], observed[rows])

    found = bootstrap(len(predicted), again, seed=seed)
    return Estimated(expected_calibration_error(predicted, observed), found.low, found.high)

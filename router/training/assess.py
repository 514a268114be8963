"""How good a router is on prompts that it has not seen, beside the baselines, with intervals.

Two ways: by cross-validation on labelled data (a model is trained for each fold, so nothing is judged on what it
learned from), or of a model that was trained before. Owns no formula; those are in `router/evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from router.evaluate import (
    SHARES,
    Bin,
    Curve,
    Estimated,
    Group,
    Miscalibration,
    Outcomes,
    calibration_error,
    curve,
    evaluate,
    expected_calibration_error,
    groupwise,
    reliability,
    share_at,
)
from router.manifest import POLICIES, PolicyName
from router.model import Prompts, RouterModel
from router.resampling import numbered
from router.training.baselines import ngram_ridge, untrained
from router.training.data import Labelled
from router.training.doubts import against, drifted, scarce
from router.training.fit import Recipe, train
from router.training.folds import FOLDS, splits

Doubles = NDArray[np.float64]

STEPS = FOLDS * (FOLDS + 1)
"""How often `Recipe.heard` is called by `crossvalidate`."""
LEAST_UNITS = 3
NAMED: Mapping[PolicyName, str] = MappingProxyType({"learned": "learned", "knn": "nearest neighbours"})
"""The policies as rows of a report."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """Everything that a report shows. Shares and qualities within 0…1.

    `router` and each row of `others`: `apgr`, `cpt50`, `cpt80` with intervals. `ece` is over both tiers' expected
    qualities together, `ece_by_tier` apart. `share_errors`: wanted large share → how much more than it came in each
    fold, −1…1. `units`: what the intervals draw whole, groups or different prompts. `trained_on`: how many of the
    prompts the model had been trained on; `warnings`: what speaks against the figures.
    """

    way: str
    prompts: int
    units: int
    grouped: bool
    trained_on: int
    warnings: tuple[str, ...]
    data_digest: str
    names: tuple[str, str]
    quality: tuple[float, float]
    router: Mapping[str, Estimated]
    ece: Miscalibration
    ece_by_tier: Mapping[str, float]
    share_errors: Mapping[float, tuple[float, ...]]
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
    share_errors: Mapping[float, tuple[float, ...]]
    others: Mapping[str, Doubles]


def crossvalidate(
    prompts: Prompts, labelled: Labelled, *, recipe: Recipe, policy: PolicyName = "learned"
) -> Assessment:
    """Judge the recipe on this data: each prompt by a model that never saw it, nor its group where there are groups.

    Scores are ranked over all folds without the mean gain of each fold's training prompts: that mean is high where the
    held-out one is low, and would rank a router that knows nothing below chance. Thresholds for the shares are set by
    what was said of the training prompts of each fold while they, and their groups, were held out inside it: of groups
    that were not seen, as those of the fold are. Raises `ValueError` where the large tier is no better than the small
    one, and for fewer units than three: one is held out, and of the others one again.
    """
    units = len(set(labelled.units))
    if units < LEAST_UNITS:
        raise ValueError(f"cross-validation needs {LEAST_UNITS} different prompts, or groups of them; here: {units}")
    gain, small, large = (np.zeros(len(labelled)) for _ in range(3))
    others: dict[str, Doubles] = {}
    errors: dict[float, tuple[float, ...]] = dict.fromkeys(SHARES, ())
    differences: list[float] = []
    for rest, held in splits(labelled.units, seed=recipe.seed):
        model = train(prompts.take(rest), labelled.take(rest), recipe=recipe).model
        asked = prompts.take(held)
        scores = model.score(asked, policy)
        true = labelled.strong[rest] - labelled.weak[rest]
        gain[held], small[held], large[held] = scores.gain - true.mean(), scores.small, scores.large
        texts = (labelled.take(rest).prompts, labelled.take(held).prompts)
        for name, found in {"n-gram ridge": ngram_ridge(texts, true), **_other(model, asked, policy=policy)}.items():
            others.setdefault(name, np.zeros(len(labelled)))[held] = found - true.mean()
        for share, error in _share_errors(model, scores.gain, policy=policy).items():
            errors[share] += (error,)
        differences += _differences(model, scores.gain, policy=policy)
    folds = len(errors[SHARES[0]])
    grouped = "" if labelled.groups is None else ", whole groups held out"
    way = f"{folds}-fold cross-validation{grouped}{_by(policy)}"
    assessed = _assessed(labelled, _Seen(gain, small, large, errors, others), way=way, seed=recipe.seed)
    return replace(assessed, warnings=(*scarce(labelled), *drifted(differences, prompts=len(labelled) // folds)))


def judge(
    model: RouterModel, prompts: Prompts, *, labelled: Labelled, seed: int = 0, policy: PolicyName = "learned"
) -> Assessment:
    """Judge a trained model on other data than it was trained on; raises as `crossvalidate` does.

    Prompts that it was trained on are judged as well, and counted: `trained_on`.
    """
    scores = model.score(prompts, policy)
    errors = {share: (error,) for share, error in _share_errors(model, scores.gain, policy=policy).items()}
    seen = _Seen(scores.gain, scores.small, scores.large, errors, _other(model, prompts, policy=policy))
    found = _assessed(labelled, seen, way=f"a model trained before{_by(policy)}", seed=seed)
    return replace(
        found,
        trained_on=int(model.trained_on(labelled.prompts).sum()),
        warnings=(
            *against(model, labelled),
            *drifted(_differences(model, scores.gain, policy=policy), prompts=len(labelled)),
        ),
    )


def _other(model: RouterModel, prompts: Prompts, *, policy: PolicyName) -> dict[str, Doubles]:
    """The gain as the model's other policies say it."""
    return {NAMED[other]: model.score(prompts, other).gain for other in POLICIES if other != policy}


def _by(policy: PolicyName) -> str:
    return "" if policy == "learned" else f", by {NAMED[policy]}"


def _share_errors(model: RouterModel, gain: Doubles, *, policy: PolicyName) -> dict[float, float]:
    """For each wanted share of large calls how much more of these prompts than that it sends, −1…1."""
    return {share: share_at(gain, threshold=model.threshold_for(share, policy)) - share for share in SHARES}


def _differences(model: RouterModel, gain: Doubles, *, policy: PolicyName) -> list[float]:
    """How much more of these prompts each of the thresholds sends than of those that it was set by, −1…1."""
    thresholds = [model.threshold_for(share, policy) for share in SHARES]
    return [share_at(gain, threshold=threshold) - model.share_at(threshold, policy) for threshold in thresholds]


def _assessed(labelled: Labelled, seen: _Seen, *, way: str, seed: int) -> Assessment:
    outcomes, units = Outcomes(labelled.weak, labelled.strong), numbered(labelled.units)
    others = {**seen.others, **untrained(labelled)}
    foretold = {labelled.names[0]: (seen.small, labelled.weak), labelled.names[1]: (seen.large, labelled.strong)}
    both = np.stack([seen.small, seen.large], axis=1), np.stack([labelled.weak, labelled.strong], axis=1)
    return Assessment(
        way=way,
        prompts=len(labelled),
        units=int(units.max()) + 1,
        grouped=labelled.groups is not None,
        trained_on=0,
        warnings=(),
        data_digest=labelled.digest,
        names=labelled.names,
        quality=(float(labelled.weak.mean()), float(labelled.strong.mean())),
        router=evaluate(seen.gain, outcomes, seed=seed, units=units),
        ece=calibration_error(*both, seed=seed, units=units),
        ece_by_tier={name: expected_calibration_error(*pair) for name, pair in foretold.items()},
        share_errors=seen.share_errors,
        others={name: evaluate(scores, outcomes, seed=seed, units=units) for name, scores in others.items()},
        curves={name: curve(scores, outcomes) for name, scores in {"router": seen.gain, **others}.items()},
        bins={name: reliability(*pair) for name, pair in foretold.items()},
        groups={} if labelled.groups is None else groupwise(seen.gain, outcomes, groups=labelled.groups),
    )

"""What speaks against a trained model, or against a figure: sentences for whoever reads it. Refuses nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from router.manifest import PolicyName
from router.model import RouterModel
from router.training.data import Labelled

FEW = 100
FEW_GROUPS = 20
"""Of fewer an interval over whole groups is too narrow (`router/resampling.py`)."""
FAR = 0.05
"""A share that is off by more on average than this and chance is said to be."""
UNNAMED = ("small", "large")
"""What a pair is called in labels that name none."""
CHANCE = 2.0
"""Deviations of a correlation of nothing, 1/√n: what it reaches by chance once in forty."""


def doubts(labelled: Labelled, gains: Mapping[PolicyName, NDArray[np.float64]]) -> tuple[str, ...]:
    """The sentences, none where all is well. `gains` `[n]`: what each policy said of the prompts held out in turn."""
    small, large = labelled.names
    found = []
    if len(labelled) < FEW:
        found.append(
            f"{len(labelled)} prompts are few: below {FEW} a router learns little; judging one takes hundreds."
        )
    true = labelled.strong - labelled.weak
    if true.mean() <= 0:
        found.append(
            f"{large!r} is no better than {small!r} on these prompts ({labelled.strong.mean():.1%} and"
            f" {labelled.weak.mean():.1%}): a large call wins nothing on average."
        )
    for policy, gain in gains.items():
        if not _explains(gain, true):
            found.append(
                f"What policy {policy!r} says of prompts held out explains nothing of where {large!r} is better:"
                " it routes no better than chance, or all of them to one tier."
            )
    return tuple(found)


def against(model: RouterModel, labelled: Labelled) -> tuple[str, ...]:
    """What speaks against figures of this model on these prompts: that it was trained on them, that they were labelled
    for another pair, that they are few, and what its training said."""
    told = (f"The model's training said: {sentence}" for sentence in model.manifest.warnings)
    return (*_remembered(model, labelled), *_other_pair(model, labelled), *scarce(labelled), *told)


def scarce(labelled: Labelled) -> tuple[str, ...]:
    """The sentences for prompts, and for groups, that are too few to judge by."""
    found = []
    different = len({" ".join(prompt.split()) for prompt in labelled.prompts})
    if different < FEW:
        found.append(
            f"{different} different prompts are few to judge a router by: below {FEW} a figure says little; look at the"
            " intervals."
        )
    groups = len(set(labelled.units)) if labelled.groups is not None else FEW_GROUPS
    if groups < FEW_GROUPS:
        found.append(
            f"The prompts are of {groups} groups that share none: intervals over fewer than {FEW_GROUPS} are too"
            " narrow, over one there are none."
        )
    return tuple(found)


def drifted(differences: Sequence[float], *, prompts: int) -> tuple[str, ...]:
    """The sentence for shares of large calls that come out far from those of the prompts that set the thresholds;
    `differences` −1…1, each over about so many prompts."""
    off = float(np.mean(np.abs(differences)))
    if off <= FAR + 0.5 / np.sqrt(max(1, prompts)):
        return ()
    return (
        f"Shares of large calls are {100 * off:.1f} points off on average, more than by chance: these prompts score"
        " otherwise than those that the thresholds were set by (drift). Set them by prompts like those to be served.",
    )


def _remembered(model: RouterModel, labelled: Labelled) -> tuple[str, ...]:
    """The sentence for prompts that the model was trained on, none where there are none."""
    count = int(model.trained_on(labelled.prompts).sum())
    if not count:
        return ()
    return (
        f"The model was trained on {count:,} of these {len(labelled):,} prompts: what is measured here says too much"
        " good of it on others.",
    )


def _other_pair(model: RouterModel, labelled: Labelled) -> tuple[str, ...]:
    """The sentence for labels of other models than the router was trained for, or of models that are not named."""
    trained, here = (model.manifest.small, model.manifest.large), labelled.names
    if trained == here:
        return ()
    ours, theirs = (f"{small!r} and {large!r}" for small, large in (trained, here))
    if here == UNNAMED:
        return (f"The router was trained for {ours}; these labels name no models: see that they are of the same two.",)
    if trained == UNNAMED:
        return (f"The router's training labels named no models; these are of {theirs}: see that they are of the same.",)
    return (f"The router was trained for {ours}; these labels are of {theirs}, a pair that it never learned about.",)


def _explains(said: NDArray[np.float64], true: NDArray[np.float64]) -> bool:
    """Whether the two go together more than by chance."""
    if said.std() < 1e-9 or true.std() < 1e-9:
        return False
    return bool(np.corrcoef(said, true)[0, 1] * np.sqrt(len(true)) > CHANCE)

"""What speaks against a trained model, or against a figure: sentences for whoever reads it. Refuses nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from router.manifest import PolicyName
from router.model import RouterModel
from router.training.data import Labelled

FEW = 100
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


def remembered(model: RouterModel, labelled: Labelled) -> tuple[str, ...]:
    """The sentence for prompts that the model was trained on, none where there are none."""
    count = int(model.trained_on(labelled.prompts).sum())
    if not count:
        return ()
    return (
        f"The model was trained on {count:,} of these {len(labelled):,} prompts: what is measured here says too much"
        " good of it on others.",
    )


def _explains(said: NDArray[np.float64], true: NDArray[np.float64]) -> bool:
    """Whether the two go together more than by chance."""
    if said.std() < 1e-9 or true.std() < 1e-9:
        return False
    return bool(np.corrcoef(said, true)[0, 1] * np.sqrt(len(true)) > CHANCE)

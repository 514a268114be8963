"""What a worker needs of `finetune`: it chooses the numbers of a training, and trains. Blocks, in a thread.

`finetune` is imported when it is asked: its recipes load torch, and only a worker's process has a use for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from finetune.order import Hyperparameters, Recipe, Reporter, Trained, TrainingOrder
from serving.store.jobs import JobRow
from serving.tuning.plan import Trade, WorkerPlan


@dataclass(frozen=True, slots=True)
class Inputs:
    """A job's files on this machine. `training`: the lines that are trained on, of those in `whole`; `validation`:
    those that are looked at; `told`: what its owner is told of them.
    """

    training: Path
    whole: Path
    validation: Path | None = None
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """The numbers of a training. `rules`: a sentence for each that was ours to choose; `counts`: of the data."""

    recipe: Recipe
    hyperparameters: Hyperparameters
    rules: tuple[str, ...] = ()
    counts: Mapping[str, Any] = field(default_factory=dict)


class Workshop(Protocol):
    """Chooses and trains. Both raise `TrainingFailed`, with what the job's owner may read."""

    def choose(self, job: JobRow, inputs: Inputs, *, plan: WorkerPlan) -> Chosen:
        """Count the data and settle every number that the job left open."""
        ...

    def train(self, order: TrainingOrder, reporter: Reporter) -> Trained:
        """The training, to its end or until the reporter says stop."""
        ...


def workshop_of(trade: Trade) -> Workshop:
    """The one of this kind."""
    if trade == "fake":
        from serving.tuning.fake_workshop import FakeWorkshop

        return FakeWorkshop()
    from serving.tuning.recipe_workshop import RecipeWorkshop

    return RecipeWorkshop()

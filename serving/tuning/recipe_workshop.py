"""The recipes of `finetune`, as a worker uses them: the data counted, the numbers settled, the training run. For a
worker's process alone: `train` loads torch.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from finetune.data.count import counted
from finetune.data.examples import InvalidLine
from finetune.hyperparameters import LONGEST, Asked, asked, resolved
from finetune.order import Hyperparameters, Reporter, Trained, TrainingFailed, TrainingOrder
from finetune.recipes import train_by
from finetune.training.facts import BaseFacts
from models.adapters.foundation import BaseModel
from models.errors import ConfigurationError
from serving.store.jobs import JobRow
from serving.tuning.job_rules import hyperparameters_of, recipe_of
from serving.tuning.plan import WorkerPlan
from serving.tuning.workshop import Chosen, Inputs

USUAL_RANK = 16


class RecipeWorkshop:
    """Trains for real."""

    def choose(self, job: JobRow, inputs: Inputs, *, plan: WorkerPlan) -> Chosen:
        """Count the data with the base's own tokenizer, and settle every number that the job left open.

        What is held out for the gate counts as well: as much as a tenth more.
        """
        told, param = hyperparameters_of(job.asked)
        recipe = recipe_of(job.asked)
        wish = asked(dict(told), recipe=recipe, param=param)
        facts = BaseFacts.of(plan.model)
        longest = min(facts.context, LONGEST) if wish.max_length == "auto" else wish.max_length
        counts = _counted(inputs, plan, longest=longest)
        numbers, rules = resolved(
            _within(wish, plan.base),
            examples=counts["examples"] - counts["left_out"],
            trained_tokens=counts["trained_tokens"],
            parameters=facts.parameters,
            modules=tuple(name for name in plan.base.modules if name in facts.modules),
            context=facts.context,
        )
        _require_rank(numbers, plan.base)
        return Chosen(recipe, numbers, tuple(rules), counts)

    def train(self, order: TrainingOrder, reporter: Reporter) -> Trained:
        """As the order's recipe does."""
        return train_by(order, reporter)


def _counted(inputs: Inputs, plan: WorkerPlan, *, longest: int) -> dict[str, Any]:
    try:
        found = counted(inputs.whole, inputs.validation, model_folder=plan.model, max_length=longest)
    except InvalidLine as error:
        raise TrainingFailed("invalid_data", error.public, line=error.number) from error
    except ConfigurationError as error:
        raise TrainingFailed("model_unavailable", error.public, detail=error.detail or "") from error
    return asdict(found)


def _within(wish: Asked, base: BaseModel) -> Asked:
    """An engine that admits less than our usual rank gets what it admits."""
    if wish.lora_rank == "auto" and base.max_rank < USUAL_RANK:
        return wish.model_copy(update={"lora_rank": base.max_rank})
    return wish


def _require_rank(numbers: Hyperparameters, base: BaseModel) -> None:
    """What no engine could load is not trained."""
    if numbers.lora_rank > base.max_rank:
        said = f"lora_rank {numbers.lora_rank} is more than {base.max_rank}, which the engines of {base.id!r} admit."
        raise TrainingFailed("invalid_data", said)

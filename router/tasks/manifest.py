"""What a task head says of itself: what it was trained on, and how it did on prompts that it had not seen."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from models.config import Frozen
from router.tasks.cues import VERSION

FORMAT = 1


class Measured(Frozen):
    """How a head did on some prompts; shares lie within 0…1."""

    prompts: int = Field(ge=1, description="How many.")
    accuracy: float = Field(description="Share of right tasks.")
    accuracy_interval: tuple[float, float] = Field(description="Its bootstrap 95 % interval.")
    recall: Mapping[str, float] = Field(description="By task: share of its prompts that were found.")
    precision: Mapping[str, float] = Field(description="By task: share of right ones among those that were called so.")
    confusion: tuple[tuple[int, ...], ...] = Field(description="Counts: a row per task as it is, a column as guessed.")
    task_ece: float = Field(description="Expected calibration error of the guessed task's probability, ten bins.")
    retrieval_prompts: int = Field(ge=0, description="How many need retrieval.")
    retrieval_precision: float = Field(
        description="Of those with a probability of 0.5 or more, the share that needs it."
    )
    retrieval_recall: float = Field(description="Of those that need it, the share with a probability of 0.5 or more.")
    retrieval_auc: float = Field(description="How often a prompt that needs it has the higher probability of two.")
    retrieval_ece: float = Field(description="Expected calibration error of the probability, ten bins.")


class Manifest(Frozen):
    """Beside the weights of a head."""

    format: int = Field(FORMAT, description="Of the file.")
    cues_version: int = Field(VERSION, description="Of `router/tasks/cues.py` that it was trained with.")
    cues_digest: str = Field(description="SHA-256 of what those cues said of the training prompts.")
    embedder: str = Field(description="Id of the embedder whose sentence vectors it reads.")
    tasks: tuple[str, ...] = Field(min_length=2, description="What it tells apart, in the order of its weights.")
    words: tuple[str, ...] = Field(description="Words that have a weight of their own.")
    prompts_digest: str = Field(description="SHA-256 of the file of prompts.")
    prompts: int = Field(ge=1, description="How many prompts were made of that file.")
    wordings: int = Field(ge=1, description="How many wordings the file holds.")
    weights_digest: str = Field("", description="SHA-256 of the weights; given when it is written.")
    measured: Mapping[str, Measured] = Field(
        description="`wordings`, `families`: those held out in turn, one prompt each; `unseen`: the list of its own."
    )

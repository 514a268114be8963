"""What a training is told, what it tells meanwhile, and how it ends: the words between recipes and who runs them.

Owns the values and the protocol. Does not train (`recipes/`), choose numbers (`hyperparameters.py`) or keep jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from models.config import Frozen

Recipe = Literal["lora_sft", "qlora_sft", "dpo"]
Stop = Literal["cancel", "pause", "cap", "lost"]
"""Why a training is to end early: its owner's wish, its limit of time or cost, or that another worker has its job."""

FailureCode = Literal["out_of_memory", "diverged", "invalid_data", "worker_lost", "model_unavailable", "internal_error"]


class Hyperparameters(Frozen):
    """Every number of a training; none is left open. Batch sizes are in examples per optimizer step."""

    n_epochs: int = Field(ge=1, le=100)
    batch_size: int = Field(ge=1, le=4096)
    learning_rate: float = Field(gt=0, le=1)
    max_length: int = Field(ge=8, description="Tokens of one example; what is longer is cut.")
    packing: bool = Field(True, description="Several examples in one row, none of which sees another.")
    lora_rank: int = Field(ge=1, le=512)
    lora_alpha: float = Field(gt=0)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] = Field(min_length=1, description="Names of the matrices that get an adapter.")
    use_rslora: bool = False
    use_dora: bool = False
    quantization: Literal["none", "nf4"] = "none"
    warmup_ratio: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    beta: float = Field(0.1, gt=0, description="DPO's strength (Rafailov et al. 2023, equation 7).")
    evaluate_every: int = Field(ge=1, description="Optimizer steps between two looks at the validation set.")
    checkpoint_every: int = Field(ge=1, description="Optimizer steps between two checkpoints.")
    patience: int | None = Field(None, ge=1, description="Looks without a better loss after which it ends.")


class TrainingOrder(Frozen):
    """One training. Paths are of the machine that trains; `resume`: a complete checkpoint to go on from."""

    job: str
    recipe: Recipe
    base: Path = Field(description="Folder with the base model's weights and tokenizer.")
    training: Path = Field(description="JSONL, valid by `finetune.data`.")
    validation: Path | None = None
    folder: Path = Field(description="Where the training may write; its own.")
    hyperparameters: Hyperparameters
    seed: int = Field(ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int | None = Field(None, ge=1, description="Of a CPU; unset: torch's choice.")
    resume: Path | None = None
    gpu_share: float = Field(1, gt=0, le=1, description="Part of its GPU's memory that each process may take.")
    processes: int = Field(1, ge=1, description="How many share the steps, each on a GPU of this machine.")
    rank: int = Field(0, ge=0, description="Which of them this order is for; 0 leads and starts the others.")


class Reporter(Protocol):
    """Whom a training tells how it goes. Called from the thread that trains; may block for some milliseconds."""

    def event(self, message: str, *, level: Literal["info", "warn"] = "info", **data: Any) -> None:
        """A sentence for the job's log."""
        ...

    def planned(self, *, steps: int, tokens: int) -> None:
        """How many optimizer steps, and how many trained (not padded) tokens, there will be in all."""
        ...

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Figures of an optimizer step: `train_loss`, `learning_rate`, `tokens`, `tokens_per_s`; after a look also
        `valid_loss`. Steps are counted from 1, and go on after a resume.
        """
        ...

    def checkpoint(self, step: int, folder: Path, *, metrics: Mapping[str, float]) -> None:
        """A checkpoint lies whole in this folder, which whoever is told may take away."""
        ...

    def stop(self) -> Stop | None:
        """Asked after every step: whether to end now. Cheap."""
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that came to its end, or was stopped after a whole step.

    `adapter`: a PEFT folder with the weights of the best look (of the last step where there is no validation set), None
    after a stop; `tokens`: trained ones, over all attempts.
    """

    step: int
    steps: int
    tokens: int
    adapter: Path | None
    stopped: Stop | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


class TrainingFailed(Exception):
    """A training that cannot go on. `public` is for the job's owner: no path, no example's text."""

    def __init__(self, code: FailureCode, public: str, *, line: int | None = None, detail: str = "") -> None:
        super().__init__(public)
        self.code = code
        self.public = public
        self.line = line
        self.detail = detail

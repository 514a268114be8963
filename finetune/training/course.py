"""The course of a training: after every step tell, look, keep and ask whether to go on (edge: transformers).

Owns when something happens and what comes out in the end. Does not compute (`trainers.py`) or write files
(`checkpoints.py`, `adapter.py`).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import TrainerCallback

from finetune.order import Reporter, Stop, Trained, TrainingFailed, TrainingOrder
from finetune.training import checkpoints
from finetune.training.adapter import save_adapter
from finetune.training.batches import Batch
from finetune.training.failures import told_as_failures
from finetune.training.group import Group


@dataclass(slots=True)
class Standing:
    """How far it has come, over all attempts. `digest`: of what the plan was made of."""

    digest: str
    tokens: int = 0
    best_loss: float | None = None
    worse_looks: int = 0
    figures: dict[str, float] | None = None


class Course(TrainerCallback):  # type: ignore[misc]
    """Leads one trainer from its first step, or a checkpoint's, to the end. `digest`: equal data and numbers."""

    def __init__(
        self, order: TrainingOrder, reporter: Reporter, *, trainer: Any, held_out: Sequence[Batch], digest: str
    ) -> None:
        self._order = order
        self._reporter = reporter
        self._trainer = trainer
        self._group: Group = trainer.group
        self._held_out = held_out
        self._standing = Standing(digest)
        self._best: Mapping[str, Tensor] | None = None
        self._stopped: Stop | None = None
        self._told: int | None = None
        self._folder = order.folder / "checkpoints"

    def run(self) -> Trained:
        """Train. `TrainingFailed` when it cannot go on; checkpoints that were told stay good."""
        order, trainer = self._order, self._trainer
        if self._group.part.leads:
            checkpoints.clear(self._folder)
        if order.resume is not None:
            self._take_up(order.resume)
        if (stop := self._wish()) is not None:  # such as a cap that the plan is beyond
            self._stopped, trainer.state.global_step = stop, self._told or 0
            return self._ended()
        trainer.add_callback(self)
        with told_as_failures():
            if order.resume is not None and self._is_patience_at_end():
                checkpoints.load_adapter(trainer.model, order.resume)
                trainer.state.global_step = self._told
            else:
                if order.resume is None and self._held_out:
                    self._reporter.event("Before the first step.", **trainer.look(self._held_out))
                trainer.train(resume_from_checkpoint=None if order.resume is None else str(order.resume))
        return self._ended()

    def on_step_end(self, *called: Any, **_: Any) -> None:
        """What transformers calls behind every update, with its arguments, state and control."""
        _, state, control = called
        step, last = state.global_step, state.global_step >= state.max_steps
        facts, numbers, standing = self._trainer.facts, self._order.hyperparameters, self._standing
        standing.tokens += facts.tokens
        figures = {
            "train_loss": facts.loss,
            "learning_rate": facts.learning_rate,
            "tokens": float(standing.tokens),
            "tokens_per_s": facts.tokens / max(facts.seconds, 1e-9),
        }
        if self._held_out and (step % numbers.evaluate_every == 0 or last):
            figures |= self._looked(step)
        standing.figures = (standing.figures or {}) | figures
        self._reporter.metrics(step, figures)
        self._stopped = None if last else self._wish()
        ends = last or self._stopped is not None or self._is_patience_at_end()
        if step % numbers.checkpoint_every == 0 or (ends and self._stopped not in ("cancel", "lost")):
            self._keep(step)
        control.should_training_stop = control.should_training_stop or ends

    def _looked(self, step: int) -> dict[str, float]:
        found: dict[str, float] = self._trainer.look(self._held_out)
        standing, loss = self._standing, found["valid_loss"]
        if math.isfinite(loss) and (standing.best_loss is None or loss < standing.best_loss):
            standing.best_loss, standing.worse_looks = loss, 0
            self._best = checkpoints.adapter_weights(self._trainer.model)
        else:
            standing.worse_looks += 1
        if self._is_patience_at_end():
            self._reporter.event(
                f"No better loss in {standing.worse_looks} looks: the training ends at step {step}.", step=step
            )
        return found

    def _is_patience_at_end(self) -> bool:
        patience = self._order.hyperparameters.patience
        return patience is not None and self._standing.worse_looks >= patience

    def _keep(self, step: int) -> None:
        if not self._group.part.leads:
            return
        base, course = self._order.base, asdict(self._standing)
        place = checkpoints.save(self._trainer, self._folder, base=base, best=self._best, course=course)
        checkpoints.clear(self._folder, but=place)
        self._told = step
        figures = {name: value for name, value in (self._standing.figures or {}).items() if name.endswith("_loss")}
        self._reporter.checkpoint(step, place, metrics=figures)

    def _take_up(self, folder: Path) -> None:
        found = Standing(**checkpoints.course_of(folder))
        if found.digest != self._standing.digest:
            raise TrainingFailed("internal_error", "The checkpoint is of another training: other data or numbers.")
        self._standing, self._best = found, checkpoints.best_of(folder)
        self._told = checkpoints.step_of(folder)
        self._reporter.event(f"Going on behind step {self._told}.", step=self._told)

    def _ended(self) -> Trained:
        step, steps = self._trainer.state.global_step, self._trainer.args.max_steps
        standing = self._standing
        figures = dict(standing.figures or {})
        if standing.best_loss is not None:
            figures["best_valid_loss"] = standing.best_loss
        if self._stopped is not None:
            return Trained(step, steps, standing.tokens, None, self._stopped, figures)
        if self._best is not None:
            checkpoints.load_weights(self._trainer.model, self._best)
        folder = self._order.folder / "adapter"
        if self._group.part.leads:
            self._write(folder)
        return Trained(step, steps, standing.tokens, folder, None, figures)

    def _write(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        save_adapter(self._trainer.model, folder, base=self._order.base)

    def _wish(self) -> Stop | None:
        """Whether to end now; in a group the leader is asked."""
        return self._group.agreed(self._reporter.stop(), device=self._order.device)

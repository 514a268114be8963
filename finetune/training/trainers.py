"""TRL's trainers, moved by whole optimizer steps (edge: torch, transformers, trl, datasets).

Owns how a step of the plan becomes one update: its micro batches are summed, each weighed by what it counts, so that
the update is the same however they are cut. Losses are TRL's. Does not look, tell or save (`course.py`).
Nothing is sent, printed or fetched: TRL's telemetry and transformers' printer are taken out.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PrinterCallback
from trl import DPOTrainer, SFTTrainer

from finetune.training import checkpoints
from finetune.training.batches import IGNORED, Batch, Micro
from finetune.training.failures import diverged
from finetune.training.group import Group

SHOWN = {"input_ids": [[0]], "labels": [[0]]}
"""TRL's constructors look at a data set of the library `datasets`; ours, which is not one, takes its place then."""


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What the last step was: its loss per token or pair, its rate, its tokens (padding aside) and its time."""

    loss: float
    learning_rate: float
    tokens: int
    seconds: float


class StepTrainer:
    """What both trainers are beside TRL's losses; mixed in before them."""

    facts = StepFacts(math.nan, 0.0, 0, 0.0)
    model: Any
    optimizer: Any
    lr_scheduler: Any
    state: Any
    args: Any
    accelerator: Any
    train_dataset: Any
    _metrics: Any
    measures: Sequence[str] = ()

    def __init__(self, *, group: Group, **parts: Any) -> None:
        steps = parts.pop("train_dataset")
        if parts["args"].n_gpu > 1:
            parts["args"]._n_gpu = 1  # else transformers spreads one process's batches over every GPU that it sees
        super().__init__(**parts, data_collator=_only, train_dataset=Dataset.from_dict(SHOWN))  # type: ignore[call-arg]
        self.train_dataset = steps
        self.group = group
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]

    def loss_of(self, micro: Micro, weight: int) -> Tensor:
        """The part of a step's mean loss that this micro batch makes, the step counting `weight`."""
        raise NotImplementedError

    def measured(self, micro: Micro) -> Mapping[str, Tensor]:
        """Figures of a look beside the loss, summed over the micro batch."""
        raise NotImplementedError

    def training_step(self, model: Any, batch: Batch, *_: Any) -> Tensor:
        """One optimizer step's gradients. `TrainingFailed` (diverged) before they can reach the weights."""
        started = time.perf_counter()
        model.train()
        rate = float(self.lr_scheduler.get_last_lr()[0])
        total = torch.zeros((), device=self.args.device)
        for micro in batch["micro"]:  # type: ignore[attr-defined]
            with self.compute_loss_context_manager():  # type: ignore[attr-defined]
                loss = self.loss_of(self._here(micro), int(batch["weight"]))  # type: ignore[call-overload]
            self.accelerator.backward(loss)
            total += loss.detach()
        self._metrics["train"].clear()
        self.group.add([total, *self._gradients()])
        if not math.isfinite(value := total.item()):
            raise diverged(self.state.global_step + 1, "loss")
        self.facts = StepFacts(value, rate, int(batch["tokens"]), time.perf_counter() - started)  # type: ignore[call-overload]
        return total

    def look(self, steps: Sequence[Batch]) -> dict[str, float]:
        """`valid_loss` and the other figures over all of these batches; changes nothing, not even a random state."""
        was_training = self.model.training
        self.model.eval()
        keep_unpacked(self.model)
        weight = sum(int(batch["weight"]) for batch in steps)  # type: ignore[call-overload]
        sums = {
            name: torch.zeros((), device=self.args.device, dtype=torch.float64)
            for name in ("valid_loss", *self.measures)
        }
        for micro in (micro for batch in steps for micro in batch["micro"]):  # type: ignore[attr-defined]
            here = self._here(micro)
            with torch.no_grad(), self.compute_loss_context_manager():  # type: ignore[attr-defined]
                sums["valid_loss"] += self.loss_of(dict(here), weight)
                for name, value in self.measured(here).items():
                    sums[name] += value
        self._metrics["eval"].clear()
        self.model.train(was_training)
        self.group.add(list(sums.values()))
        counted = {name: weight if name in self.measures else 1 for name in sums}
        return {name: value.item() / counted[name] for name, value in sums.items()}

    def _gradients(self) -> list[Tensor]:
        """Of all that is trained; a process without a row of this step has some as well, which are zero."""
        trained = [one for one in self.model.parameters() if one.requires_grad]
        for one in trained:
            if one.grad is None:
                one.grad = torch.zeros_like(one)
        return [one.grad for one in trained]

    def _here(self, micro: Micro) -> Micro:
        return {name: value.to(self.args.device) for name, value in micro.items()}

    # What transformers' Trainer asks of a trainer, answered for whole steps.

    def get_train_dataloader(self) -> Any:
        """The plan's steps in their order."""
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=_only)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, *_: Any) -> tuple[list[Any], None]:
        """One step; what it counts is in it."""
        return [next(epoch_iterator) for _ in range(num_batches)], None

    def floating_point_ops(self, _: Any) -> int:
        """Not counted."""
        return 0

    def log(self, logs: Any, start_time: Any = None) -> None:
        """The course tells."""

    def _send_telemetry(self) -> None:
        """Nothing is sent."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Steps come as they are to be."""
        return dataset

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        if not math.isfinite(float(norm)):
            raise diverged(self.state.global_step + 1, "gradient")
        return norm

    def _load_from_checkpoint(self, folder: str, model: Any = None) -> None:  # noqa: ARG002
        checkpoints.load_adapter(self.model, Path(folder))

    def _load_optimizer_and_scheduler(self, folder: str | None) -> None:
        if folder is not None:
            checkpoints.load_optimizer(self.optimizer, self.lr_scheduler, folder=Path(folder))

    def _load_rng_state(self, folder: str | None) -> None:
        if folder is not None:
            checkpoints.load_random(Path(folder))
            if not self.group.part.leads:  # whose state it is
                seed_all(self.args.seed + self.state.global_step)


class ExampleTrainer(StepTrainer, SFTTrainer):  # type: ignore[misc]
    """Learns examples: the mean loss of the learned tokens of a step."""

    def loss_of(self, micro: Micro, weight: int) -> Tensor:
        """TRL's sum over the learned tokens, by all of the step's."""
        return self.compute_loss(self.model, micro, num_items_in_batch=weight)

    def measured(self, micro: Micro) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Nothing beside the loss."""
        return {}


class PairTrainer(StepTrainer, DPOTrainer):  # type: ignore[misc]
    """Learns pairs: the mean of TRL's loss over the pairs of a step. The reference is the base, the adapter off."""

    measures = ("preference_rate",)

    def loss_of(self, micro: Micro, weight: int) -> Tensor:
        """TRL's mean over the pairs, by their share of the step."""
        loss: Tensor = self.compute_loss(self.model, micro)
        return loss * (micro["input_ids"].shape[0] / 2 / weight)

    def measured(self, micro: Micro) -> Mapping[str, Tensor]:
        """`preference_rate`: pairs whose preferred answer the model finds likelier than the rejected one."""
        labels = micro["input_ids"].masked_fill(micro["completion_mask"] == 0, IGNORED)
        inputs = {name: micro[name] for name in ("input_ids", "attention_mask")}
        found = self.model(**inputs, labels=labels, use_cache=False, fused_lm_head=True)
        preferred, rejected = found.log_probs.sum(1).chunk(2)
        return {"preference_rate": (preferred > rejected).sum()}


def keep_unpacked(model: Any) -> None:
    """Leave a base's matrices in 4 bits as they are trained upon. bitsandbytes lays one that is asked in eval mode on a
    CPU out anew for inference, for good: no gradient passes it from then on. It has nothing else that the mode changes.
    """
    if getattr(model, "is_loaded_in_4bit", False):
        from bitsandbytes.nn import Linear4bit

        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.train()


def seed_all(seed: int) -> None:
    """Every generator that a library may draw from."""
    random.seed(seed)
    torch.manual_seed(seed)


def _only(items: Sequence[Any]) -> Any:
    return items[0]

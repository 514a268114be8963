"""A fake: looks like a training from outside, takes some milliseconds a step, and loads no torch.

The loss is a function of the step alone, so that a training that was resumed can be held against one that was not. What
comes out is an adapter that an engine of the base admits, of rank 1, its weights a function of the seed.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from finetune.order import Hyperparameters, Reporter, Stop, Trained, TrainingFailed, TrainingOrder
from serving.store.jobs import JobRow
from serving.tuning.plan import WorkerPlan
from serving.tuning.workshop import Chosen, Inputs

STEPS = 40
STEP_S = 0.02
STATE = "state.safetensors"
TOKENS_PER_STEP = 10
MODULE = "q_proj"


def loss_at(step: int) -> float:
    """The loss of a step."""
    return round(4.0 / (1 + 0.2 * step), 6)


@dataclass(frozen=True, slots=True)
class Script:
    """How a fake training behaves: it reads `{"fake": {…}}` in the first line of its training file."""

    steps: int = STEPS
    step_s: float = STEP_S
    fails_at: int | None = None
    obeys: bool = True

    @classmethod
    def of(cls, training: Path) -> Script:
        """As the file says."""
        with training.open() as lines:
            first = json.loads(next(filter(str.strip, lines), "{}"))
        return cls(**first.get("fake", {})) if isinstance(first, dict) else cls()


class FakeWorkshop:
    """Trains nothing."""

    def choose(self, job: JobRow, inputs: Inputs, *, plan: WorkerPlan) -> Chosen:
        """Numbers that mean nothing."""
        if MODULE not in plan.base.modules:
            raise TrainingFailed("model_unavailable", f"The base {plan.base.id!r} is served without {MODULE!r}.")
        lines = sum(bool(line.strip()) for line in inputs.training.read_bytes().splitlines())
        numbers = Hyperparameters(
            n_epochs=1,
            batch_size=1,
            learning_rate=0.01,
            max_length=64,
            lora_rank=1,
            lora_alpha=2,
            target_modules=(MODULE,),
            evaluate_every=10,
            checkpoint_every=5,
        )
        return Chosen("lora_sft", numbers, ("n_epochs is 1: a fake needs no more.",), {"examples": lines, "of": job.id})

    def train(self, order: TrainingOrder, reporter: Reporter) -> Trained:
        """Step after step, from a checkpoint on if there is one."""
        script = Script.of(order.training)
        first = 0 if order.resume is None else int(load_file(order.resume / STATE)["step"][0])
        reporter.planned(steps=script.steps, tokens=script.steps * TOKENS_PER_STEP)
        stopped: Stop | None = reporter.stop()
        step = first
        while stopped is None and step < script.steps:
            step += 1
            time.sleep(script.step_s)
            if step == script.fails_at:
                raise TrainingFailed("diverged", f"The loss is not a number since step {step}.")
            metrics = {"train_loss": loss_at(step), "learning_rate": 0.01, "tokens": float(step * TOKENS_PER_STEP)}
            reporter.metrics(step, metrics)
            stopped = reporter.stop() if script.obeys else None
            if step % order.hyperparameters.checkpoint_every == 0 or stopped == "pause":
                reporter.checkpoint(step, _saved(order, step), metrics={"train_loss": loss_at(step)})
        done = None if stopped else _adapter(order, order.folder / "adapter")
        metrics = {"train_loss": loss_at(max(step, 1))}
        return Trained(step, script.steps, step * TOKENS_PER_STEP, done, stopped=stopped, metrics=metrics)


def _saved(order: TrainingOrder, step: int) -> Path:
    folder = _adapter(order, order.folder / f"checkpoint-{step}")
    save_file({"step": np.array([step], dtype=np.int64)}, folder / STATE)
    return folder


def _adapter(order: TrainingOrder, folder: Path) -> Path:
    """The two files of an adapter of the base in `order.base`, as far as its `config.json` tells."""
    folder.mkdir(parents=True)
    numbers = order.hyperparameters
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(order.base),
        "r": numbers.lora_rank,
        "lora_alpha": numbers.lora_alpha,
        "target_modules": list(numbers.target_modules),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(_weights(order), folder / "adapter_model.safetensors")
    return folder


def _weights(order: TrainingOrder) -> dict[str, np.ndarray]:
    shape = json.loads((order.base / "config.json").read_text())
    rows, columns = shape["num_attention_heads"] * shape["head_dim"], shape["hidden_size"]
    draw = np.random.default_rng(order.seed)
    found: dict[str, np.ndarray] = {}
    for layer in range(shape["num_hidden_layers"]):
        place = f"base_model.model.model.layers.{layer}.self_attn.{MODULE}"
        found[f"{place}.lora_A.weight"] = draw.normal(0, 0.05, (1, columns)).astype(np.float32)
        found[f"{place}.lora_B.weight"] = draw.normal(0, 0.05, (rows, 1)).astype(np.float32)
    return found

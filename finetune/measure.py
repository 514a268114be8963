"""`python -m finetune.measure packing | resume | memory --out DIR` (edge: torch, trl): what recipes are worth.

Packing: useful tokens per second against a plain padded loop. Resume: how far a resumed training is from the unbroken
one. Memory: what a base takes in each precision. Owns the arms and the result's folder; trains the demo model.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file
from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from benchmarks.estimates import estimate, ratios
from benchmarks.origin import origin
from benchmarks.result import markdown_table, prepare
from finetune.hyperparameters import asked, resolved
from finetune.order import Stop, TrainingOrder
from finetune.recipes import train_by
from finetune.training import checkpoints
from finetune.training.adapter import arguments, load_base, load_tokenizer, with_adapter
from finetune.training.batches import IGNORED, ExampleSteps
from finetune.training.corpus import Corpus, encoder_of, examples_of
from finetune.training.facts import BaseFacts
from finetune.training.group import Group
from finetune.training.plan import Plan, Shape, steps_of
from finetune.training.quiet import quiet
from finetune.training.trainers import ExampleTrainer
from models.demo.families import Split, mix
from models.demo.tiers import WEIGHTS
from models.errors import PenstockError

SEED = 20_261_127
LONGEST_TALK = 48  # turns


class Notes:
    """A reporter that keeps the losses and where checkpoints lie."""

    def __init__(self, keep: Path) -> None:
        self._keep = keep
        self.losses: dict[int, float] = {}
        self.checkpoints: dict[int, Path] = {}

    def event(self, message: str, *, level: Literal["info", "warn"] = "info", **data: Any) -> None:
        """Not kept."""

    def planned(self, *, steps: int, tokens: int) -> None:
        """Not kept."""

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """The loss alone."""
        self.losses[step] = metrics["train_loss"]

    def checkpoint(self, step: int, folder: Path, *, metrics: Mapping[str, float]) -> None:  # noqa: ARG002
        """Taken away."""
        self._keep.mkdir(exist_ok=True)
        self.checkpoints[step] = folder.rename(self._keep / folder.name)

    def stop(self) -> Stop | None:
        """Never."""
        return None


def talks(path: Path, *, count: int, seed: int) -> Path:
    """Chats of the demo's families, most of them short and some long: turns are lognormal (0, 1.3), cut at 48."""
    rng, pool = random.Random(seed), mix(Split.TRAIN, seed=seed)
    with path.open("w") as out:
        for _ in range(count):
            turns = islice(pool, min(LONGEST_TALK, 1 + int(rng.lognormvariate(0, 1.3))))
            messages = [
                {"role": role, "content": text}
                for one in turns
                for role, text in (("user", one.prompt), ("assistant", one.answer))
            ]
            out.write(json.dumps({"messages": messages}) + "\n")
    return path


def order_for(folder: Path, *, count: int, seed: int, **numbers: Any) -> TrainingOrder:
    """A training of the large demo tier on such chats, all other numbers by our rules."""
    base, file = WEIGHTS / "large", talks(folder / "train.jsonl", count=count, seed=seed)
    facts = BaseFacts.of(base)
    found, _ = resolved(
        asked(numbers, recipe="lora_sft"),
        examples=count,
        trained_tokens=0,
        parameters=facts.parameters,
        modules=facts.modules,
        context=facts.context,
    )
    values = {"job": "measure", "recipe": "lora_sft", "base": base, "training": file, "folder": folder / "work"}
    return TrainingOrder(**values, hyperparameters=found, seed=seed, threads=1)


def packing(folder: Path, *, rounds: int, seed: int) -> dict[str, Any]:
    """Both arms in turn: the same examples in the same steps, and so the same losses, in `rounds` rounds."""
    order = order_for(folder, count=128, seed=seed, n_epochs=1, batch_size=32)
    data = examples_of(order.training, encoder_of(order.base), longest=order.hyperparameters.max_length)
    arms: dict[str, list[dict[str, float]]] = {"packed": [], "padded": []}
    with quiet():
        for number in track(range(2 * rounds), console=Console(stderr=True), description="training"):
            name = ("packed", "padded", "padded", "packed")[number % 4]
            arms[name].append(ARMS[name](order, data))
    useful = int(data.lengths.sum())
    rates = {name: [useful / one["seconds"] for one in found] for name, found in arms.items()}
    gain = ratios(rates["packed"], rates["padded"])
    processor = ratios([one["cpu_s"] for one in arms["padded"]], [one["cpu_s"] for one in arms["packed"]])
    return {
        "useful_tokens": useful,
        "longest": int(data.lengths.max()),
        "mean_length": useful / len(data),
        "through_the_model": {name: found[0]["tokens"] for name, found in arms.items()},
        "loss": {name: found[0]["loss"] for name, found in arms.items()},
        "tokens_per_s": {name: asdict(estimate(found, seed=seed)) for name, found in rates.items()},
        "gain": asdict(estimate(gain, seed=seed)),
        "gain_of_processor_time": asdict(estimate(processor, seed=seed)),
        "rounds": arms,
    }


def packed_arm(order: TrainingOrder, data: Corpus) -> dict[str, float]:
    """As the recipe trains; `loss` is that of all examples after the pass."""
    plan = plan_of(order, data)
    trainer = ours(order, ExampleSteps(data, plan, pad=0), steps_in_all=len(plan))
    found = timed(trainer.train)
    tokens = sum(micro["input_ids"].numel() for step in trainer.train_dataset for micro in step["micro"])
    return found | {"tokens": float(tokens), "loss": loss_on(trainer, data)}


def padded_arm(order: TrainingOrder, data: Corpus) -> dict[str, float]:
    """TRL's `SFTTrainer` with its own collator: a step's examples padded to the longest, the same ones in each step."""
    plan, size = plan_of(order, data), order.hyperparameters.batch_size
    rows = [row for number in range(len(plan)) for row in rows_of(data, plan[number].examples)]
    model = with_adapter(load_base(order), order)
    options = arguments(model, order, steps=len(plan)) | {"per_device_train_batch_size": size}
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**options, max_length=None, shuffle_dataset=False, train_sampling_strategy="sequential"),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(order),
    )
    trainer.remove_callback(PrinterCallback)
    found = timed(trainer.train)
    tokens = sum(batch["input_ids"].numel() for batch in trainer.get_train_dataloader())
    judge = ours(order, ExampleSteps(data, [], pad=0), steps_in_all=1)
    checkpoints.load_weights(judge.model, checkpoints.adapter_weights(trainer.model))
    return found | {"tokens": float(tokens), "loss": loss_on(judge, data)}


ARMS: Mapping[str, Callable[[TrainingOrder, Corpus], dict[str, float]]] = {"packed": packed_arm, "padded": padded_arm}


def plan_of(order: TrainingOrder, data: Corpus) -> Plan:
    """One pass."""
    shape = plan_shape(data)
    return Plan(data.lengths, epochs=1, batch=order.hyperparameters.batch_size, shape=shape, seed=order.seed)


def plan_shape(data: Corpus) -> Shape:
    """Packed rows, all of them one process's."""
    return Shape.on("cpu", data.lengths, packing=True)


def rows_of(data: Corpus, examples: Sequence[int]) -> list[dict[str, list[int]]]:
    """Examples as TRL takes them."""
    spans = [slice(data.starts[one], data.starts[one + 1]) for one in examples]
    return [
        {
            "input_ids": data.ids[span].tolist(),
            "labels": np.where(data.learned[span], data.ids[span], IGNORED).tolist(),
        }
        for span in spans
    ]


def ours(order: TrainingOrder, steps: ExampleSteps, *, steps_in_all: int) -> ExampleTrainer:
    """The recipe's trainer."""
    model = with_adapter(load_base(order), order)
    options = arguments(model, order, steps=steps_in_all)
    return ExampleTrainer(
        model=model,
        args=SFTConfig(**options, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=steps,
        processing_class=load_tokenizer(order),
        group=Group(),
    )


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds, of the wall and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - wall, "cpu_s": time.process_time() - processor}


def loss_on(trainer: ExampleTrainer, data: Corpus) -> float:
    """Mean per learned token, over all examples."""
    looks = steps_of(data.lengths, shape=plan_shape(data))
    return trainer.look(ExampleSteps(data, looks, pad=0))["valid_loss"]


def resume(folder: Path, *, rounds: int, seed: int) -> dict[str, Any]:
    """An unbroken training, and one from each of its checkpoints: how far are losses and weights from each other?"""
    order = order_for(folder, count=8 * rounds, seed=seed, n_epochs=2, batch_size=8, checkpoint_every=2)
    order = order.model_copy(update={"hyperparameters": order.hyperparameters.model_copy(update={"lora_dropout": 0.1})})
    whole = Notes(folder / "kept")
    trained = train_by(order, whole)
    losses, weights = [], []
    for step, checkpoint in whole.checkpoints.items():
        again = Notes(folder / f"again-{step}")
        gone_on = train_by(order.model_copy(update={"folder": folder / f"from-{step}", "resume": checkpoint}), again)
        losses += [abs(loss - whole.losses[at]) for at, loss in again.losses.items()]
        weights.append(distance(trained.adapter, gone_on.adapter))
    return {
        "steps": trained.steps,
        "resumed": len(weights),
        "largest_difference_of_losses": max(losses, default=0.0),
        "largest_difference_of_weights": max(weights),
    }


def distance(one: Path | None, other: Path | None) -> float:
    """The largest difference between two adapters' numbers."""
    assert one is not None
    assert other is not None
    first, second = (load_file(path / "adapter_model.safetensors") for path in (one, other))
    return max(float((value - second[name]).abs().max()) for name, value in first.items())


def memory(folder: Path, *, rounds: int, seed: int) -> dict[str, Any]:  # noqa: ARG001
    """Bytes of the base in memory, in each precision, and of the adapter that is learned."""
    order = order_for(folder, count=8, seed=seed)
    found = {}
    with quiet():
        for name in ("none", "nf4"):
            numbers = order.hyperparameters.model_copy(update={"quantization": name})
            model = load_base(order.model_copy(update={"hyperparameters": numbers}))
            found[name] = int(model.get_memory_footprint())
            adapted = with_adapter(model, order)
            learned = sum(one.numel() for one in adapted.parameters() if one.requires_grad)
    return {"base_bytes": found, "learned_parameters": learned, "saved": 1 - found["nf4"] / found["none"]}


WORK: Mapping[str, Callable[..., dict[str, Any]]] = {"packing": packing, "resume": resume, "memory": memory}


def table_of(what: str, found: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    if what != "packing":
        return markdown_table(
            ("", what), [(name.replace("_", " "), json.dumps(value)) for name, value in found.items()]
        )
    rows = [
        (
            name,
            f"{found['tokens_per_s'][name]['median']:,.0f}",
            f"{found['tokens_per_s'][name]['low']:,.0f} to {found['tokens_per_s'][name]['high']:,.0f}",
            f"{found['through_the_model'][name]:,.0f}",
            f"{found['loss'][name]:.4f}",
        )
        for name in ARMS
    ]
    head = ("arm", "useful tokens/s", "95 % interval", "positions computed", "loss after the pass")
    gain, processor = found["gain"], found["gain_of_processor_time"]
    return (
        f"{markdown_table(head, rows)}\n\nPacked is {gain['median']:.2f} times as fast ({gain['low']:.2f} to"
        f" {gain['high']:.2f}, n = {gain['count']}); by processor time {processor['median']:.2f} times"
        f" ({processor['low']:.2f} to {processor['high']:.2f})."
    )


def main(given: list[str] | None = None) -> None:
    """Measure, write the folder with its origin last, and print."""
    parser = argparse.ArgumentParser(prog="python -m finetune.measure", description="What recipes are worth.")
    parser.add_argument("what", choices=sorted(WORK))
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    parser.add_argument("--rounds", type=int, default=5, help="of both arms; for resume: of eight examples")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(given)
    try:
        prepare(options.out)
    except PenstockError as error:
        raise SystemExit(str(error)) from None
    torch.set_num_threads(1)
    started = time.time()
    with tempfile.TemporaryDirectory() as folder:
        found = WORK[options.what](Path(folder), rounds=options.rounds, seed=options.seed)
    beside = origin(
        config={"what": options.what, "base": "demo-large", "threads": 1},
        seeds=[options.seed],
        counts={"rounds": options.rounds},
        started=started,
        more=("trl", "peft", "accelerate", "bitsandbytes"),
    )
    hardware = beside["hardware"]
    where = f"Commit {beside['commit'][:12]}, {beside['started']}; {hardware['processor']}, {hardware['cores']} cores."
    table = f"{table_of(options.what, found)}\n\n{where}\n"
    (options.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "table.md").write_text(table)
    (options.out / "origin.json").write_text(json.dumps(beside, indent=1) + "\n")
    Console().print(table, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

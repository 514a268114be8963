"""Trains the demo tiers from scratch (edge: torch, transformers). Owns batches, optimizers, checkpoints; not the data.

    python -m models.demo.train --out models/demo/weights [--tier small|large] [--resume]

Only the assistant's tokens count in the loss. Matrices inside the layers learn with Muon, all else with AdamW; the
rate falls to zero in a straight line. Runs on CUDA where there is one, else in one single-threaded process per core
that average their gradients (on few, shared cores faster than one process with many threads). bfloat16 autocast.
"""

import argparse
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from random import Random

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from models.demo.conversations import Conversation, conversations
from models.demo.drills import Drill, drills
from models.demo.families import Split
from models.demo.start import lay_out
from models.demo.tiers import TIERS, WEIGHTS, Recipe, Tier
from models.demo.tokenizer import END, MAX_LENGTH, PAD, load_tokenizer, save_tokenizer

LOG = logging.getLogger(__name__)
POOL = 3_000  # conversations sorted by length together
IGNORED = -100
STRIDE = 12  # lengths that may share a batch: equal ones would sort by family, and a batch would be of one kind


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of one conversation, and the same ids as labels where the assistant speaks."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True, slots=True)
class Place:
    """Which of how many workers a process is."""

    rank: int
    workers: int


class Encoder:
    """Turns conversations into samples, without a template engine in the loop."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._role = {role: tokenizer.convert_tokens_to_ids(f"<|{role}|>") for role in ("system", "user", "assistant")}
        self._end = tokenizer.convert_tokens_to_ids(END)
        self.pad = tokenizer.convert_tokens_to_ids(PAD)

    def __call__(self, conversation: Conversation) -> Sample:
        ids: list[int] = []
        labels: list[int] = []
        if conversation.system:
            ids += [self._role["system"], *self._encode(conversation.system), self._end]
        for turn in conversation.turns:
            ids += [self._role["user"], *self._encode(turn.prompt), self._end, self._role["assistant"]]
            labels += [IGNORED] * (len(ids) - len(labels))
            answer = [*self._encode(turn.answer), self._end]
            ids += answer
            labels += answer
        return Sample(ids, labels)

    def drill(self, drill: Drill) -> Sample:
        """Plain text in the assistant's voice; only the pieces that count are learned."""
        ids = [self._role["assistant"]]
        labels = [IGNORED]
        for piece in drill:
            tokens = self._encode(piece.text)
            ids += tokens
            labels += tokens if piece.counts else [IGNORED] * len(tokens)
        return Sample(ids, labels)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def samples(encoder: Encoder, recipe: Recipe, *, plain: bool) -> Iterator[Sample]:
    """An endless stream of conversations with drills among them, `plain` for the first part of the training."""
    seed = recipe.seed if plain else recipe.seed + 1
    rng = Random(f"samples|{seed}")
    talk, exercise = conversations(Split.TRAIN, seed=seed, plain=plain), drills(seed=seed)
    while True:
        yield encoder.drill(next(exercise)) if rng.random() < recipe.drill_share else encoder(next(talk))


def batches(encoder: Encoder, recipe: Recipe, *, place: Place) -> Iterator[tuple[Tensor, Tensor]]:
    """This worker's share of (ids, labels) of the whole training, and more."""
    begin, end = (_batches(encoder, recipe, place=place, plain=plain) for plain in (True, False))
    return chain(islice(begin, recipe.plain_steps), end)


def _batches(encoder: Encoder, recipe: Recipe, *, place: Place, plain: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """An endless stream, padded on the right; a batch has about one length."""
    rng = Random(recipe.seed)
    source = samples(encoder, recipe, plain=plain)
    while True:
        pool = sorted(islice(source, POOL), key=lambda sample: (len(sample.ids) // STRIDE, rng.random()))
        groups = list(_groups(pool, recipe.batch_tokens // place.workers))
        rng.shuffle(groups)
        whole = len(groups) - len(groups) % place.workers
        for group in groups[place.rank : whole : place.workers]:
            yield tensors(group, encoder.pad)


def _groups(pool: Sequence[Sample], batch_tokens: int) -> Iterator[list[Sample]]:
    group: list[Sample] = []
    for sample in pool:
        if group and (len(group) + 1) * max(len(one.ids) for one in (sample, *group)) > batch_tokens:
            yield group
            group = []
        group.append(sample)
    yield group


def tensors(group: Sequence[Sample], pad: int) -> tuple[Tensor, Tensor]:
    """Ids and labels, padded on the right."""
    width = max(len(sample.ids) for sample in group)
    ids = [sample.ids + [pad] * (width - len(sample.ids)) for sample in group]
    labels = [sample.labels + [IGNORED] * (width - len(sample.labels)) for sample in group]
    return torch.tensor(ids), torch.tensor(labels)


def new_model(tier: Tier, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> LlamaForCausalLM:
    """A Llama of the tier's shape with random weights that can already copy."""
    torch.manual_seed(seed)
    end = tokenizer.convert_tokens_to_ids(END)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=tier.hidden,
        intermediate_size=tier.feed_forward,
        num_hidden_layers=tier.layers,
        num_attention_heads=tier.heads,
        num_key_value_heads=tier.heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        attention_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
    )
    model = LlamaForCausalLM(config)
    lay_out(model)
    return model


def loss_of(model: LlamaForCausalLM, ids: Tensor, *, labels: Tensor) -> Tensor:
    """Cross-entropy on the assistant's tokens. Padding sits on the right, so causal attention needs no mask."""
    states = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    wanted = targets != IGNORED
    return functional.cross_entropy(model.lm_head(states[wanted]).float(), targets[wanted])


def optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    matrices = [value for name, value in model.named_parameters() if value.ndim == 2 and "embed" not in name]
    rest = [value for name, value in model.named_parameters() if value.ndim != 2 or "embed" in name]
    return [
        Muon(matrices, lr=recipe.matrix_rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        AdamW(rest, lr=recipe.other_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def rate_at(step: int, recipe: Recipe) -> float:
    """Warm-up, plateau, straight fall to zero; then lower rises and falls (SGDR, Loshchilov and Hutter, 2017)."""
    if step >= recipe.plain_steps:
        done = (step - recipe.plain_steps) % recipe.cycle
        return min(recipe.finish_rate * (1 - done / recipe.cycle), (done + 1) / recipe.warm_up)
    rising = (step + 1) / recipe.warm_up
    falling = (recipe.plain_steps - step) / (recipe.plain_steps * recipe.decay_share)
    return min(1.0, rising, falling)


class Run:
    """One training run: a model, its optimizers, and where it stands."""

    def __init__(self, tier: Tier, recipe: Recipe, *, out: Path, place: Place) -> None:
        self.recipe = recipe
        self.place = place
        self.out = out / tier.name
        self.tokenizer = load_tokenizer(self.out)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = new_model(tier, self.tokenizer, seed=recipe.seed).to(self.device)
        self.optimizers = optimizers(self.model, recipe)
        self.schedules = [LambdaLR(one, lambda step: rate_at(step, recipe)) for one in self.optimizers]
        self.step = 0
        self.loss = float("nan")

    def train(self, checkpoint: Path, progress: Progress) -> None:
        """All steps that are still to do; a checkpoint and a usable model now and then."""
        task = progress.add_task(self.out.name, total=self.recipe.steps, completed=self.step)
        self.model.train()
        for ids, labels in islice(
            batches(Encoder(self.tokenizer), self.recipe, place=self.place), self.step, self.recipe.steps
        ):
            self._advance(ids.to(self.device), labels.to(self.device))
            progress.update(task, advance=1, description=f"{self.out.name} loss {self.loss:.4f}")
            if self.place.rank == 0:
                self._note(checkpoint)
        if self.place.rank == 0:
            self.export()

    def _note(self, checkpoint: Path) -> None:
        if self.step % 50 == 0:
            LOG.info("%s step %d loss %.4f", self.out.name, self.step, self.loss)
        if self.step % self.recipe.checkpoint_every == 0:
            self.save(checkpoint)
            self.export()

    def _advance(self, ids: Tensor, labels: Tensor) -> None:
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = loss_of(self.model, ids, labels=labels)
        loss.backward()
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.loss = 0.98 * self.loss + 0.02 * loss.item() if self.step > 1 else loss.item()

    def _average_gradients(self) -> None:
        if self.place.workers == 1:
            return
        gradients = [value.grad for value in self.model.parameters() if value.grad is not None]
        flat = torch.cat([one.flatten() for one in gradients])
        distributed.all_reduce(flat)
        flat /= self.place.workers
        for one, mean in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
            one.copy_(mean.view_as(one))

    def save(self, path: Path) -> None:
        """Everything needed to go on later."""
        state = {"step": self.step, "loss": self.loss, "model": self.model.state_dict()}
        state["optimizers"] = [one.state_dict() for one in self.optimizers]
        state["schedules"] = [one.state_dict() for one in self.schedules]
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def resume(self, path: Path) -> None:
        """Goes on where `save` stopped; the data stream is replayed up to there."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.step, self.loss = state["step"], state["loss"]
        self.model.load_state_dict(state["model"])
        for one, saved in zip(
            [*self.optimizers, *self.schedules], [*state["optimizers"], *state["schedules"]], strict=True
        ):
            one.load_state_dict(saved)

    def export(self) -> None:
        """The Hugging Face folder, in bfloat16."""
        with torch.no_grad():
            weights = {
                name: value.detach().to("cpu", torch.bfloat16) for name, value in self.model.state_dict().items()
            }
        model = LlamaForCausalLM(self.model.config).to(torch.bfloat16)
        model.load_state_dict(weights)
        model.save_pretrained(self.out)
        config = self.model.config
        generation = {"eos_token_id": config.eos_token_id, "pad_token_id": config.pad_token_id, "do_sample": False}
        (self.out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


@dataclass(frozen=True, slots=True)
class Party:
    """What every worker is told: how many they are, the file where they meet, and the command's options."""

    workers: int
    meeting: str
    options: argparse.Namespace


def work(rank: int, party: Party) -> None:
    """One worker: joins the others, trains every wanted tier."""
    workers, meeting, options = party.workers, party.meeting, party.options
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if workers > 1:
        torch.set_num_threads(1)
        distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    with Progress(console=Console(stderr=True), disable=rank > 0) as progress:
        for name in options.tier or sorted(TIERS, reverse=True):
            checkpoint = options.checkpoints / f"{name}.pt"
            recipe = replace(Recipe(), steps=options.steps)
            run = Run(TIERS[name], recipe, out=options.out, place=Place(rank, workers))
            if options.resume and checkpoint.exists():
                run.resume(checkpoint)
            run.train(checkpoint, progress)
    if workers > 1:
        distributed.destroy_process_group()


def main() -> None:
    """Reads the arguments, writes the tokenizer, starts the workers."""
    parser = argparse.ArgumentParser(description="Train the demo tiers.")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder that gets one model folder per tier")
    parser.add_argument("--checkpoints", type=Path, help="folder for checkpoints (default: beside --out)")
    parser.add_argument("--tier", choices=sorted(TIERS), action="append", help="one tier only")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="training steps")
    parser.add_argument("--workers", type=int, help="processes (default: 1 on CUDA, else one per core)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    options = parser.parse_args()
    options.checkpoints = options.checkpoints or options.out.with_name("checkpoints")
    options.checkpoints.mkdir(parents=True, exist_ok=True)
    for name in options.tier or TIERS:
        save_tokenizer(options.out / name)
    workers = options.workers or (1 if torch.cuda.is_available() else os.cpu_count() or 1)
    if workers == 1:
        work(0, Party(1, "", options))
        return
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(work, (Party(workers, str(Path(folder) / "meeting"), options),), nprocs=workers)


if __name__ == "__main__":
    main()

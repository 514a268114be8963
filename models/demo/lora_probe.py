"""Shows that the untrained family can be learned by an adapter (edge: torch, peft). The adapter is thrown away.

    python -m models.demo.lora_probe [--tier large] [--seconds 240]

Trains LoRA on `triage` prompts of the training side with some replay of the old families, then counts exact answers
on held-out prompts before and after. It proves a property of the shipped weights; fine-tuning lives in `finetune/`.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from rich.console import Console
from rich.table import Table
from torch.optim import AdamW
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from models.demo.conversations import Conversation
from models.demo.families import FAMILIES, Example, Split, draw, mix
from models.demo.grade import is_exact
from models.demo.tiers import TIERS, WEIGHTS
from models.demo.tokenizer import load_tokenizer
from models.demo.train import Encoder, loss_of, tensors

TASK = "triage"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BATCH = 32
SEED = 11


def count_exact(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, examples: Sequence[Example]) -> int:
    """Greedy answers that are exactly right."""
    texts = [f"<|user|>{example.prompt}<|end|><|assistant|>" for example in examples]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    model.eval()
    with torch.no_grad():
        found = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=64, do_sample=False
        )
    answers = tokenizer.batch_decode(found[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return sum(is_exact(example, answer) for example, answer in zip(examples, answers, strict=True))


def training_examples(count: int) -> Iterator[list[Example]]:
    """Batches, for ever: three quarters from `count` triage examples, one quarter replay."""
    rng = Random(SEED)
    new, old = draw(TASK, Split.TRAIN, count=count, seed=SEED), mix(Split.TRAIN, seed=SEED)
    replay = BATCH // 4
    while True:
        yield [*rng.sample(new, BATCH - replay), *islice(old, replay)]


def adapt(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, seconds: float, rank: int) -> PeftModel:
    """A LoRA adapter on every matrix of the layers, trained until the time is up."""
    torch.manual_seed(SEED)
    adapted = get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS, task_type="CAUSAL_LM")
    )
    optimizer = AdamW([value for value in adapted.parameters() if value.requires_grad], lr=3e-3)
    encode = Encoder(tokenizer)
    started = time.monotonic()
    for examples in training_examples(1_000):
        left = 1 - (time.monotonic() - started) / seconds
        if left <= 0:
            break
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, 2 * left)
        adapted.train()
        ids, labels = tensors([encode(Conversation("", (one,))) for one in examples], encode.pad)
        loss_of(adapted.base_model.model, ids, labels=labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return adapted


def probe(folder: Path, *, seconds: float, rank: int, per_family: int) -> Table:
    """Exact answers per family, before and after."""
    tokenizer = load_tokenizer(folder)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    held_out = {name: draw(name, Split.HELD_OUT, count=per_family, seed=SEED) for name in FAMILIES}
    before = {name: count_exact(model, tokenizer, examples=examples) for name, examples in held_out.items()}
    adapted = adapt(model, tokenizer, seconds=seconds, rank=rank)
    after = {name: count_exact(adapted, tokenizer, examples=examples) for name, examples in held_out.items()}
    table = Table(
        title=f"{folder.name}: LoRA rank {rank} on {TASK}, {seconds:.0f} s, {per_family} held-out prompts per family"
    )
    for column in ("family", "before", "after"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for name in FAMILIES:
        table.add_row(name, *(f"{100 * count[name] / per_family:.1f} %" for count in (before, after)))
    return table


def main() -> None:
    """Reads the arguments, probes one tier or both."""
    parser = argparse.ArgumentParser(description="Show that the untrained family is learnable by an adapter.")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--tier", choices=sorted(TIERS), action="append")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--per-family", type=int, default=200)
    options = parser.parse_args()
    for name in options.tier or ["large"]:
        table = probe(options.weights / name, seconds=options.seconds, rank=options.rank, per_family=options.per_family)
        Console().print(table)


if __name__ == "__main__":
    main()

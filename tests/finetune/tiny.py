"""A random Llama of two narrow layers with the demo's tokenizer, small files, and a reporter that remembers."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from finetune.order import Hyperparameters, Stop, Trained, TrainingOrder
from models.demo.tiers import WEIGHTS

WORDS = ("order", "parcel", "bill", "refund", "account", "broken", "late", "thanks")


def tiny_model(*, attention: str = "sdpa") -> LlamaForCausalLM:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=1791,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    config._attn_implementation = attention
    return LlamaForCausalLM(config).float().eval()


def tiny_base(folder: Path) -> Path:
    """Its folder, as a base that can be trained."""
    tiny_model().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(WEIGHTS / "large" / name, folder)
    return folder


def chat_lines(path: Path, *, count: int = 24) -> Path:
    """Chats of different lengths."""
    lines = []
    for number in range(count):
        prompt = " ".join(WORDS[(number * 3 + place) % 8] for place in range(1 + number % 7))
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": WORDS[number % 8]}]
        lines.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(lines) + "\n")
    return path


def pair_line(prompt: str, preferred: str, rejected: str) -> str:
    """One preference, in the format of the file."""
    return json.dumps(
        {
            "input": {"messages": [{"role": "user", "content": prompt}]},
            "preferred_output": [{"role": "assistant", "content": preferred}],
            "non_preferred_output": [{"role": "assistant", "content": rejected}],
        }
    )


def numbers(**changes: Any) -> Hyperparameters:
    values: dict[str, Any] = {
        "n_epochs": 2,
        "batch_size": 6,
        "learning_rate": 1e-2,
        "max_length": 128,
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "target_modules": ("q_proj", "v_proj"),
        "evaluate_every": 2,
        "checkpoint_every": 3,
    }
    return Hyperparameters(**values | changes)


def order(tmp_path: Path, **changes: Any) -> TrainingOrder:
    """A training of eight steps on the tiny base; made where it is not there yet."""
    if not (tmp_path / "base").exists():
        tiny_base(tmp_path / "base")
        chat_lines(tmp_path / "train.jsonl")
        chat_lines(tmp_path / "valid.jsonl", count=9)
    values: dict[str, Any] = {
        "job": "j",
        "recipe": "lora_sft",
        "base": tmp_path / "base",
        "training": tmp_path / "train.jsonl",
        "validation": tmp_path / "valid.jsonl",
        "folder": tmp_path / "work",
        "hyperparameters": numbers(),
        "seed": 3,
        "threads": 1,
    }
    return TrainingOrder(**values | changes)


def weights_of(trained: Trained) -> dict[str, torch.Tensor]:
    """Those of the adapter that came out."""
    assert trained.adapter is not None
    return dict(load_file(trained.adapter / "adapter_model.safetensors"))


def members_of(folder: Path) -> list[int]:
    """Processes that a training under this folder has started beside itself, and that live."""
    found = subprocess.run(["pgrep", "-f", f"finetune.recipes.member {folder}/"], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


@dataclass
class Told:
    """A reporter that remembers, takes checkpoints away into `keep`, and may ask to stop."""

    keep: Path
    stop_at: int | None = None
    reason: Stop = "pause"
    events: list[str] = field(default_factory=list)
    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    checkpoints: dict[int, Path] = field(default_factory=dict)
    plan: tuple[int, int] | None = None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def event(self, message: str, *, level: Literal["info", "warn"] = "info", **data: Any) -> None:
        self.events.append(message)
        self.facts[message] = data

    def planned(self, *, steps: int, tokens: int) -> None:
        self.plan = (steps, tokens)

    def metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        assert step not in self.steps
        self.steps[step] = dict(metrics)

    def checkpoint(self, step: int, folder: Path, *, metrics: Mapping[str, float]) -> None:
        self.checkpoints[step] = self.keep / f"kept-{step}"
        shutil.copytree(folder, self.checkpoints[step])

    def stop(self) -> Stop | None:
        return self.reason if self.stop_at is not None and len(self.steps) >= self.stop_at else None

    @property
    def curve(self) -> dict[int, tuple[float, ...]]:
        """What must be equal, bit by bit, after a resume: all but the speed."""
        return {
            step: tuple(value for name, value in sorted(one.items()) if name != "tokens_per_s")
            for step, one in self.steps.items()
        }

"""Labelled prompts that can be learned: the small tier fails on sums, and on nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from models.embedders.hashing import HashingSettings, build
from router.model import Prompts
from router.training.data import Columns, Labelled, read_labelled
from router.training.fit import Recipe, Trained, train
from router.training.prepare import prepare

ROUNDS = 40
LETTERS = ("a", "e", "i", "l", "m", "n", "o", "r", "s", "t")
TOPICS = ("apples", "pears", "trains", "boats", "stars", "books")


def lines(count: int, *, seed: int = 0) -> list[dict[str, object]]:
    """Half sums, half greetings; one label in ten is turned over."""
    chance = np.random.default_rng(seed)
    found = []
    for at in range(count):
        topic, hard = TOPICS[at % len(TOPICS)], bool(chance.random() < 0.5)
        numbers = chance.integers(2, 99, size=3)
        asked = (
            f"If {numbers[0]} {topic} cost {numbers[1]}, what do {numbers[2]} cost?"
            if hard
            else f"Say hello to {''.join(chance.choice(LETTERS, size=6))} and the {topic}."
        )
        weak = hard == bool(chance.random() < 0.1)
        found.append({"prompt": asked, "weak_correct": weak, "strong_correct": True, "topic": topic})
    return found


def write(file: Path, count: int, *, seed: int = 0) -> Path:
    """The lines as a file."""
    file.write_text("".join(json.dumps(line) + "\n" for line in lines(count, seed=seed)))
    return file


def features(labelled: Labelled) -> Prompts:
    """By the embedder that has no model."""
    return prepare(labelled.prompts, build(HashingSettings(kind="hashing")))


def trained(folder: Path, *, count: int = 240, seed: int = 0) -> tuple[Trained, Prompts, Labelled]:
    """A model on made prompts."""
    labelled = read_labelled([write(folder / "data.jsonl", count, seed=seed)], Columns())
    prompts = features(labelled)
    return train(prompts, labelled, recipe=Recipe("hashing", (1, 3, 6), 256, rounds=ROUNDS)), prompts, labelled

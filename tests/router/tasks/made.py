"""A small head on the embedder that has no model: enough to be written, read and refused."""

from __future__ import annotations

from models.embedders.hashing import HashingEmbedder, HashingSettings
from router.tasks import LEARNED, TaskHead
from router.training.task_fit import Embedded, Origin, train
from router.training.task_prompts import Example

WIDTH = 32
FAMILIES = 8
ASKED = {
    "simple": "What is the {} called?",
    "code": "Write a function for the {} in Python.",
    "reasoning": "Why does the {} cost more each year?",
    "extraction": "Extract every name.\n\nThe {} belongs to Ann.",
    "writing": "Draft a friendly letter on the {}.",
}
THINGS = ("boat", "lamp", "road", "tree", "wheel", "clock", "chair", "stone")
MORE = ("bell", "rope", "gate", "sail", "drum", "kite", "fence", "mill")


def examples() -> tuple[Example, ...]:
    """Eight families of two wordings per task; every second one asks for what is ours."""
    found = []
    for task, asked in ASKED.items():
        for at, thing in enumerate((*THINGS, *MORE)):
            family = at // 2
            ours = family % 2 == 1
            text = asked.format(f"{thing} of our company today" if ours else thing)
            found.append(Example(text, task, ours, text, f"{task} {family}"))
    assert len({example.family for example in found}) == FAMILIES * len(LEARNED)
    return tuple(found)


def embedder() -> HashingEmbedder:
    """Of few dimensions."""
    return HashingEmbedder(HashingSettings(dimensions=WIDTH))


def embedded(some: tuple[Example, ...]) -> Embedded:
    """With their vectors."""
    return Embedded(some, embedder().embed([example.text for example in some]).sentence)


def head() -> TaskHead:
    """Trained on them, and measured on them."""
    return train(embedded(examples()), embedded(examples()), origin=Origin(embedder().id, "0" * 64))

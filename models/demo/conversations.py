"""Wraps examples into conversations as a deployment sees them: system prompts, earlier turns. Pure Python."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from models.demo.families import Example, Split, mix

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer in one sentence.",
    "You are a friendly assistant for our shop.",
    "You help the team with tickets and orders.",
    "Be brief.",
    "Be polite and answer in English.",
    "Answer the question of the user.",
    "You are Penstock, a demo model.",
    "Use the text to answer. If the text does not say it, say so.",
    "You are an assistant of the support desk. Never make things up.",
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """An optional system prompt, and one or two questions with their answers."""

    system: str
    turns: tuple[Example, ...]


def conversations(split: Split, *, seed: int, plain: bool = False) -> Iterator[Conversation]:
    """An endless draw: one in eight has a system prompt, one in fourteen an earlier turn."""
    rng = Random(f"conversations|{split}|{seed}")
    examples = mix(split, seed=seed, plain=plain)
    while True:
        system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.125 else ""
        count = 2 if rng.random() < 0.07 else 1
        yield Conversation(system, tuple(next(examples) for _ in range(count)))

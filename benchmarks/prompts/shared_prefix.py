"""Prompts `shared-prefix`: a long beginning that many requests share, and a short end of their own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmarks.prompts.question import Order, Question, Span, prose
from models.config import PluginSettings


class Settings(PluginSettings):
    """As with one system prompt per application: what an engine's prefix cache is for."""

    kind: Literal["shared-prefix"] = Field("shared-prefix", description="Groups with a system prompt in common.")
    groups: int = Field(8, ge=1, le=10_000, description="Different beginnings.")
    prefix_words: int = Field(200, ge=1, le=100_000, description="Words that a group has in common.")
    words: Span


def ask(settings: Settings, order: Order) -> Question:
    """The system prompt of a group drawn at random, and a question of its own."""
    chance = order.chance()
    group = chance.randrange(settings.groups)
    prefix = prose(order.chance("group", group), settings.prefix_words)
    question = prose(chance, order.length(settings.words, chance))
    return Question(({"role": "system", "content": prefix}, {"role": "user", "content": question}))

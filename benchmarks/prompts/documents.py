"""Prompts `documents`: passages in front of a question, as a retrieval step would put them there."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmarks.prompts.question import Order, Question, Span, prose
from models.config import PluginSettings


class Settings(PluginSettings):
    """A long prompt and a short answer. Passages come from a common stock, so prefixes seldom match."""

    kind: Literal["documents"] = Field("documents", description="Passages and a question about them.")
    passages: int = Field(4, ge=1, le=100, description="Passages of one prompt.")
    stock: int = Field(100, ge=1, le=1_000_000, description="Passages to draw from.")
    passage_words: int = Field(120, ge=1, le=10_000, description="Words of a passage.")
    words: Span


def ask(settings: Settings, order: Order) -> Question:
    """The passages, numbered, then the question."""
    chance = order.chance()
    drawn = [chance.randrange(settings.stock) for _ in range(settings.passages)]
    passages = "\n\n".join(
        f"[{place}] {prose(order.chance('passage', number), settings.passage_words)}"
        for place, number in enumerate(drawn, start=1)
    )
    question = prose(chance, order.length(settings.words, chance))
    return Question(
        (
            {"role": "system", "content": f"Answer from these passages only.\n\n{passages}"},
            {"role": "user", "content": question},
        )
    )

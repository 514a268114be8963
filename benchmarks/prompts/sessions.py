"""Prompts `sessions`: conversations that grow turn by turn, each request repeating all that was said before.

The earlier answers are made up from the seed, not taken from the server: so every server reads the same texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from benchmarks.prompts.question import Order, Question, Span, prose
from models.config import PluginSettings


class Settings(PluginSettings):
    """So many conversations side by side; the first turn of all, then the second of all, and so on."""

    kind: Literal["sessions"] = Field("sessions", description="Multi-turn conversations.")
    side_by_side: int = Field(16, ge=1, le=100_000, description="Conversations between two turns of the same one.")
    turns: int = Field(5, ge=1, le=100, description="Questions of one conversation.")
    answer_words: int = Field(50, ge=1, le=10_000, description="Length of the answers in the history.")
    words: Span


def ask(settings: Settings, order: Order) -> Question:
    """The conversation up to this turn."""
    batch, place = divmod(order.number, settings.side_by_side * settings.turns)
    turn, member = divmod(place, settings.side_by_side)
    return Question(tuple(_history(settings, order, conversation=(batch, member, turn))))


def _history(settings: Settings, order: Order, *, conversation: tuple[int, int, int]) -> Iterator[Mapping[str, str]]:
    batch, member, last = conversation
    for turn in range(last + 1):
        chance = order.chance("session", batch, member, turn)
        yield {"role": "user", "content": prose(chance, order.length(settings.words, chance))}
        if turn < last:
            yield {"role": "assistant", "content": prose(chance, settings.answer_words)}

"""Prompts `words`: random sentences, no two alike, so that no cache helps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmarks.prompts.question import Order, Question, Span, prose, user
from models.config import PluginSettings


class Settings(PluginSettings):
    """A question of so many words."""

    kind: Literal["words"] = Field("words", description="Random sentences.")
    words: Span


def ask(settings: Settings, order: Order) -> Question:
    """One message of random sentences."""
    chance = order.chance()
    return user(prose(chance, order.length(settings.words, chance)))

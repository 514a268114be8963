"""Prompts `code`: the beginning of a source file that is to be completed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from benchmarks.prompts.question import Order, Question, Span, user, vocabulary
from models.config import PluginSettings


class Settings(PluginSettings):
    """Functions that are written out, and one that is only begun. Made for the completions endpoint."""

    kind: Literal["code"] = Field("code", description="Python functions, the last one open.")
    lines: Span


def ask(settings: Settings, order: Order) -> Question:
    """About so many lines of code; a length from a trace counts eight words for a line."""
    chance = order.chance()
    lines = max(1, order.words // 8) if order.words else chance.randint(*settings.lines)
    text: list[str] = []
    while len(text) < lines:
        text += _function(chance)
    return user("\n".join([*text, f"def {_name(chance)}({_name(chance)}):", "    "]))


def _function(chance: random.Random) -> Iterator[str]:
    given, made = _name(chance), _name(chance)
    yield f"def {_name(chance)}({given}):"
    yield f"    {made} = []"
    yield f"    for item in {given}:"
    yield f"        if item > {chance.randrange(100)}:"
    yield f"            {made}.append(item * {chance.randrange(2, 10)})"
    yield f"    return {made}"
    yield ""


def _name(chance: random.Random) -> str:
    return "_".join(chance.sample(vocabulary(), 2)) + str(chance.randrange(10))

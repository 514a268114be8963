"""Prompts `json-schema`: answers that the engine must hold to a schema."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmarks.prompts.question import Order, Question, Span, prose, user
from models.config import PluginSettings

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "amount": {"type": "integer", "minimum": 0, "maximum": 9999},
        "urgent": {"type": "boolean"},
        "colour": {"enum": ["red", "green", "blue"]},
    },
    "required": ["name", "amount", "urgent", "colour"],
    "additionalProperties": False,
}


class Settings(PluginSettings):
    """One schema for all: what is measured is the grammar while decoding, not its compilation."""

    kind: Literal["json-schema"] = Field("json-schema", description="Structured output.")
    words: Span


def ask(settings: Settings, order: Order) -> Question:
    """A text and the schema of what to extract."""
    chance = order.chance()
    text = f"Extract the order as JSON.\n{prose(chance, order.length(settings.words, chance))}"
    form = {"type": "json_schema", "json_schema": {"name": "order", "schema": SCHEMA, "strict": True}}
    return user(text, response_format=form)

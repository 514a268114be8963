"""The family of prompts: what is asked. The contract, the table of kinds, and how settings become requests.

A new kind is one file here (`Settings` with its own `kind`, `ask(settings, order)`) and one row in `PROMPTS`. Every
text is drawn from the seed and the request's number: the same for every server, and nothing is downloaded.
"""

from __future__ import annotations

from typing import Annotated, cast

from pydantic import BeforeValidator, SerializeAsAny

from benchmarks.prompts.question import Order, Question
from models.config import PluginSettings
from models.plugins import Registry

__all__ = ["PROMPTS", "AnyPrompts", "Order", "Question", "ask"]

PROMPTS = Registry(
    "prompts",
    {
        "words": "benchmarks.prompts.words",
        "shared-prefix": "benchmarks.prompts.shared_prefix",
        "sessions": "benchmarks.prompts.sessions",
        "documents": "benchmarks.prompts.documents",
        "code": "benchmarks.prompts.code",
        "json-schema": "benchmarks.prompts.json_schema",
    },
)

AnyPrompts = Annotated[SerializeAsAny[PluginSettings], BeforeValidator(PROMPTS.read)]


def ask(settings: PluginSettings, order: Order) -> Question:
    """The request with this number; the same every time."""
    return cast(Question, PROMPTS.module(settings.kind).ask(settings, order))

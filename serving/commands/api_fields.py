"""The fields of a request as docs/api.md shows them: what each takes is what its own check says of a wrong value.

Owns the words of what a field does. Does not own which fields there are, nor their limits: `serving/api` does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from models.errors import InvalidRequest
from serving.api.checks import Check
from serving.api.completions import MAX_CHOICES
from serving.api.patterns import MAX_REPEAT
from serving.api.schemas import MAX_CHARACTERS, MAX_DEPTH, MAX_NODES

FIRST = ("model", "messages", "prompt")
WRONG = object()
"""A value that no check takes."""

# Field → values beside `WRONG` that are wrong further inside: the refusal names the member and what it takes.
INSIDE: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "messages": (
            [{"role": WRONG}],
            [{"role": "user", "content": WRONG}],
            [{"role": "user", "content": "", "name": WRONG}],
            [{"role": "assistant", "tool_calls": WRONG}],
            [{"role": "tool", "content": "", "tool_call_id": WRONG}],
        ),
        "logit_bias": ({"x": 0}, {"1": WRONG}),
        "metadata": ({"": ""},),
        "penstock": ({"feature": WRONG}, {"tier": WRONG}),
        "prompt_cache_options": ({"mode": WRONG}, {"ttl": WRONG}),
        "response_format": (
            {"type": WRONG},
            {"type": "json_schema", "json_schema": {"name": WRONG, "schema": {}}},
            {"type": "json_schema", "json_schema": {"name": "x", "schema": WRONG}},
        ),
        "stop": ([""],),
        "stream_options": ({"include_usage": WRONG}, {"include_obfuscation": WRONG}),
        "structured_outputs": ({}, {"json": WRONG}, {"regex": WRONG}, {"choice": WRONG}, {"json_object": WRONG}),
        "tool_choice": ("",),
        "tools": (
            [{"type": WRONG, "function": {}}],
            [{"type": "function", "function": {"name": WRONG}}],
            [{"type": "function", "function": {"name": "x", "parameters": WRONG}}],
        ),
    }
)

WHAT: Mapping[str, str] = MappingProxyType(
    {
        "model": "**Required.** `auto`, or a name of `GET /v1/models`, by exact string.",
        "messages": "**Required.** The conversation. Of an assistant's answer everything may be sent back as it came.",
        "messages[].role": "Who speaks.",
        "messages[].content": "**Required**, but beside `tool_calls`. A part is `{type: text, text}`: models here read "
        "text only.",
        "messages[].name": "A name of the speaker; not of a tool.",
        "messages[].tool_calls": "Calls of the assistant: `{id, type: function, function: {name, arguments}}`.",
        "messages[].tool_call_id": "**Required** of a tool's message: the call that it answers.",
        "prompt": "**Required.** What is to be continued.",
        "best_of": "Must equal `n`: every choice is returned.",
        "echo": "Begin the answer with the prompt.",
        "frequency_penalty": "Against tokens by how often they occurred.",
        "logit_bias": "Token id → what is added to its logit.",
        "logprobs": "Log probabilities of the tokens; completions: of so many alternatives.",
        "max_completion_tokens": "Longest answer, in tokens.",
        "max_tokens": "The older name of it. Completions: 0 with `echo` only.",
        "metadata": "Accepted; nothing reads it yet.",
        "min_p": "Engine extra: least probability of a token, as part of the best one's.",
        "modalities": "`text`: what models here answer with.",
        "n": f"Choices for one prompt; for several prompts at most {MAX_CHOICES:,} in all.",
        "parallel_tool_calls": "Whether an answer may hold several calls.",
        "penstock": "Our own object.",
        "penstock.feature": "What the call is for; kept in its record.",
        "penstock.tier": "With `auto`: this tier, whatever the router thinks. Of a named model only its own.",
        "presence_penalty": "Against tokens that occurred.",
        "prompt_cache_key": "Accepted, without effect: a prefix that is in memory is used anyway.",
        "prompt_cache_options": "Likewise.",
        "prompt_cache_options.mode": "Likewise.",
        "prompt_cache_options.ttl": "Likewise.",
        "prompt_cache_retention": "Likewise.",
        "reasoning_effort": "Engine extra, for models that think.",
        "repetition_penalty": "Engine extra: above 1 against tokens of prompt and answer, below 1 for them.",
        "response_format": "The form of the answer. Its JSON is enforced token by token.",
        "response_format.type": "**Required.**",
        "response_format.json_schema.name": "**Required** with `json_schema`.",
        "response_format.json_schema.schema": f"**Required** with `json_schema`. At most {MAX_DEPTH} levels, "
        f"{MAX_NODES:,} nodes and {MAX_CHARACTERS:,} characters (descriptions aside), no `$ref` out of it.",
        "safety_identifier": "Accepted; the key says who calls.",
        "seed": "The same seed, the same draw, as far as the engine can.",
        "service_tier": "Accepted, without effect.",
        "stop": "Where the answer ends.",
        "store": "Whether the answer is kept.",
        "stream": "Answer as events.",
        "stream_options": "With `stream` only.",
        "stream_options.include_usage": "A last chunk with `usage` and no choices.",
        "stream_options.include_obfuscation": "Accepted: events are never padded here.",
        "structured_outputs": "Engine extra: one form. Not beside `tools` or `response_format`.",
        "structured_outputs.json": "A schema, as above.",
        "structured_outputs.regex": "A pattern that matches in linear time: no nested repetition, no look-around, no "
        f"back-reference, counts up to {MAX_REPEAT:,}.",
        "structured_outputs.choice": f"The answers to choose from, at most {MAX_CHARACTERS:,} characters in all.",
        "structured_outputs.json_object": "Any JSON object.",
        "temperature": "0 is greedy.",
        "tool_choice": "Or `{type: function, function: {name}}`. Needs `tools`, and a card with a `tool_parser`.",
        "tools": "What the model may call.",
        "tools[].type": "**Required.**",
        "tools[].function.name": "**Required.** Beside it `description` and `strict`.",
        "tools[].function.parameters": "A schema, as above; the characters of all tools count together.",
        "top_k": "Engine extra: draw from the best so many; -1 or 0: from all.",
        "top_logprobs": "Alternatives of each token. Needs `logprobs`.",
        "top_p": "Draw from the best that together have this probability.",
        "user": "Accepted; the key says who calls.",
    }
)


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field or member: its path, and what it takes."""

    path: str
    takes: str

    @property
    def is_supported(self) -> bool:
        """False for a field of OpenAI's that is known, and refused whatever its value."""
        return not self.takes.startswith("not supported here")

    @property
    def instead(self) -> str:
        """What to do without an unsupported field, in brackets; nothing where there is no other way."""
        advice = self.takes.partition(". ")[2]
        return f" ({advice})" if advice else ""


def field_rows(checks: Mapping[str, Check]) -> list[FieldRow]:
    """Every field with its members, the required ones first."""
    names = sorted(checks, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    return [FieldRow(path, takes) for name in names for path, takes in _rows_of(name, checks[name]).items()]


def _rows_of(name: str, check: Check) -> dict[str, str]:
    """Path → what it takes; what several wrong values are told of one path stands in one sentence."""
    found: dict[str, list[str]] = {}
    for path, takes in _refusals(name, check):
        told = found.setdefault(path, [])
        if takes not in told:
            told.append(takes)
    return {path: "; ".join(told) for path, told in found.items()}


def _refusals(name: str, check: Check) -> Iterator[tuple[str, str]]:
    for value in (WRONG, *INSIDE.get(name, ())):
        try:
            check(value, name)
        except InvalidRequest as error:
            takes = error.public.partition("expected ")[2] or error.public.partition(": ")[2]
            yield (error.param or name).replace("[0]", "[]"), takes.removesuffix(".")

"""A model's chat template, rendered as transformers and vLLM render it, without either.

Owns the sandbox, the special tokens that templates may write, and how messages are handed over. The environment is
that of `transformers.utils.chat_template_utils._cached_compile_jinja_template`, which tests compare with. Messages are
handed over as vLLM's `_postprocess_messages` does: arguments of calls as objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.errors import ConfigurationError

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_PROBE = ({"type": "text", "text": "first-part"}, {"type": "text", "text": "second-part"})


class TemplateRefused(ConfigurationError):
    """The model's chat template cannot tell what is to be learned, or refuses the conversation."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """What a model's files call its special tokens; a token that a model has not is None."""

    bos: str | None
    eos: str | None
    given: Mapping[str, Any]
    """All of them, as templates get them."""

    @classmethod
    def of(cls, folder: Path) -> SpecialTokens:
        """From `tokenizer_config.json`, and the older `special_tokens_map.json` where one lies beside it."""
        found = {**_json(folder / "special_tokens_map.json"), **_json(folder / "tokenizer_config.json")}
        given: dict[str, Any] = {name: _token(found[name]) for name in _SPECIAL if found.get(name) is not None}
        if extra := found.get("additional_special_tokens"):
            given["additional_special_tokens"] = [_token(one) for one in extra]
        return cls(given.get("bos_token"), given.get("eos_token"), given)


class ChatTemplate:
    """Renders conversations of one model."""

    def __init__(self, sources: Mapping[str, str], tokens: SpecialTokens) -> None:
        """`sources`: template by name; `default` for every conversation, `tool_use` for those with tools."""
        environment = _environment()
        self._templates = {name: environment.from_string(source) for name, source in sources.items()}
        self._tokens = tokens
        self._takes_parts = self._writes_parts()

    @classmethod
    def of(cls, folder: Path, tokens: SpecialTokens) -> ChatTemplate | None:
        """The template of a model's folder; None when it has none. `ConfigurationError` for one that cannot be read."""
        sources = _sources(folder)
        try:
            return cls(sources, tokens) if sources else None
        except TemplateError as error:
            raise ConfigurationError(
                "The model's chat template cannot be compiled: ask for another revision of the model.",
                detail=str(error)[:200],
            ) from error

    def render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None, *, prompt: bool = False
    ) -> str:
        """The text of a conversation; with `prompt` also what an assistant's turn begins with.

        `TemplateRefused` when the template raises, as some do for roles in an order that they were not made for.
        """
        template = self._templates.get("tool_use" if tools else "default") or self._templates["default"]
        handed = [self._handed(message) for message in messages]
        return self._rendered(template, handed, tools=list(tools) if tools else None, prompt=prompt)

    def _rendered(
        self, template: Template, messages: list[dict[str, Any]], *, tools: list[Any] | None, prompt: bool
    ) -> str:
        try:
            return template.render(
                messages=messages, tools=tools, documents=None, add_generation_prompt=prompt, **self._tokens.given
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise TemplateRefused(
                "the model's chat template refuses this conversation; check the order of its roles.",
                detail=type(error).__name__,
            ) from error

    def _handed(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message as a template wants it: without our weight, with arguments read, in one piece if need be."""
        fields = {name: value for name, value in message.items() if name != "weight" and value is not None}
        fields.setdefault("content", "")
        if isinstance(fields["content"], list) and not self._takes_parts:
            fields["content"] = "\n".join(part["text"] for part in fields["content"])
        if "tool_calls" in fields:
            fields["tool_calls"] = [_read_call(call) for call in fields["tool_calls"]]
        return fields

    def _writes_parts(self) -> bool:
        """Whether the template writes the texts of parts, and not the list itself or nothing."""
        message = {"role": "user", "content": list(_PROBE)}
        try:
            text = self._rendered(self._templates["default"], [message], tools=None, prompt=False)
        except TemplateRefused:
            return False
        return all(part["text"] in text for part in _PROBE) and "'type'" not in text and '"type"' not in text


def _read_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}


def _sources(folder: Path) -> dict[str, str]:
    """Name → template, from `chat_template.jinja`, which wins, or `tokenizer_config.json`."""
    file = folder / "chat_template.jinja"
    if file.exists():
        return {"default": file.read_text(encoding="utf-8")}
    found = _json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):
        found = {str(one["name"]): str(one["template"]) for one in found}
        return found if "default" in found else {}
    return {"default": found} if isinstance(found, str) else {}


def _json(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{file.name!r} of the model is not valid JSON: pull the model again.") from error
    return found if isinstance(found, dict) else {}


def _token(value: Any) -> str:
    """A token is spelled out, or an object that holds its text."""
    return str(value["content"]) if isinstance(value, dict) else str(value)


class _Generation(Extension):
    """`{% generation %}`, which marks what an assistant says, changes no text."""

    tags = frozenset({"generation"})  # type: ignore[assignment] # Jinja only reads it

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

    def _inside(self, caller: Macro) -> str:
        return str(caller())


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Jinja's own filter escapes HTML; templates of models do not want that."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)

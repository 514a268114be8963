"""Tools, the choice among them, and the forms an answer can be held to (`response_format`, `structured_outputs`).

Owns their shapes and bounds. Does not own enforcement: the engine compiles what passes here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from models.errors import InvalidRequest
from serving.api.checks import Check, boolean, invalid, items, members, missing, one_of, string, text
from serving.api.patterns import check_pattern
from serving.api.schemas import MAX_CHARACTERS, SchemaCheck, check_schema

MAX_TOOLS = 128
MAX_CHOICES = 1000
_FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_tools(value: Any, param: str) -> None:
    """1 to 128 functions; the engine compiles their schemas together."""
    function: Mapping[str, Check] = {**_FUNCTION, "parameters": SchemaCheck()}
    tool: Mapping[str, Check] = {
        "type": one_of("function"),
        "function": partial(members, checks=function, required=("name",)),
    }
    items(value, param, each=partial(members, checks=tool, required=("type", "function")), most=MAX_TOOLS, least=1)


def check_tool_choice(value: Any, param: str) -> None:
    """A mode, or the one function to call."""
    if type(value) is str:
        _MODE(value, param)
    else:
        members(value, param, checks=_CHOICE, required=("type", "function"))


def check_response_format(value: Any, param: str) -> None:
    """`text`, `json_object`, or `json_schema` with its schema."""
    members(value, param, checks=_FORMAT, required=("type",))
    if (value["type"] == "json_schema") != (value.get("json_schema") is not None):
        if value["type"] == "json_schema":
            raise missing(f"{param}.json_schema")
        raise invalid(param, "json_schema only with the type 'json_schema'")


def check_structured_outputs(value: Any, param: str) -> None:
    """Exactly one form: a schema, a pattern, a list of answers, or any JSON object."""
    members(value, param, checks=_FORMS)
    if sum(form is not None for form in value.values()) != 1:
        raise invalid(param, f"exactly one of {', '.join(_FORMS)}")


def check_agreement(body: Mapping[str, Any]) -> None:
    """What no single field can tell: the choice names a tool that is there, and one form holds the answer."""
    tools, choice = body.get("tools"), body.get("tool_choice")
    if choice is not None and not tools:
        raise InvalidRequest("'tool_choice' needs 'tools'.", param="tool_choice")
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        if all(tool["function"]["name"] != name for tool in tools or ()):
            raise InvalidRequest("'tool_choice' names a function that 'tools' does not have.", param="tool_choice")
    if body.get("structured_outputs") is not None:
        for rival in ("tools", "response_format"):
            if body.get(rival) is not None:
                raise InvalidRequest(f"'structured_outputs' excludes '{rival}'.", param="structured_outputs")


def _check_name(value: Any, param: str) -> None:
    if type(value) is not str or not _FUNCTION_NAME.fullmatch(value):
        raise invalid(param, "1 to 64 letters, digits, '_' or '-'")


def _check_chosen(value: Any, param: str) -> None:
    members(value, param, checks={"name": _check_name}, required=("name",))


def _check_named_schema(value: Any, param: str) -> None:
    members(value, param, checks=_NAMED_SCHEMA, required=("name", "schema"))


def _check_choices(value: Any, param: str) -> None:
    items(value, param, each=string(1024, shortest=1), most=MAX_CHOICES, least=1)
    if sum(map(len, value)) > MAX_CHARACTERS:
        raise invalid(param, f"at most {MAX_CHARACTERS} characters in all")


_MODE: Check = one_of("none", "auto", "required")
_FUNCTION: Mapping[str, Check] = MappingProxyType({"name": _check_name, "description": text, "strict": boolean})
_CHOICE: Mapping[str, Check] = MappingProxyType({"type": one_of("function"), "function": _check_chosen})
_NAMED_SCHEMA: Mapping[str, Check] = MappingProxyType(
    {"name": _check_name, "description": text, "schema": check_schema, "strict": boolean}
)
_FORMAT: Mapping[str, Check] = MappingProxyType(
    {"type": one_of("text", "json_object", "json_schema"), "json_schema": _check_named_schema}
)
_FORMS: Mapping[str, Check] = MappingProxyType(
    {"json": check_schema, "regex": check_pattern, "choice": _check_choices, "json_object": one_of(True)}
)

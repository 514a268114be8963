"""The messages of a chat request: roles, contents and tool calls, each error naming its exact place.

Owns the shape of a conversation. Does not own templates: the engine renders the text. Models here read text alone,
so a part of any other type is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from models.errors import InvalidRequest
from models.strict_json import parse_object
from serving.api.checks import (
    Check,
    invalid,
    items,
    members,
    missing,
    one_of,
    only_null,
    string,
    text,
    unknown,
    unsupported,
)

MAX_PARTS = 1024
MAX_TOOL_CALLS = 128
ROLES = ("system", "developer", "user", "assistant", "tool")


def check_messages(value: Any, param: str, *, most: int) -> None:
    """A conversation of 1 to `most` messages."""
    items(value, param, each=check_message, most=most, least=1)


def check_message(value: Any, param: str) -> None:
    """One message; which members it may have depends on its role."""
    if type(value) is not dict:
        raise invalid(param, "an object")
    role = value.get("role")
    if role is None:
        raise missing(f"{param}.role")
    checks = _MEMBERS.get(role) if type(role) is str else None
    if checks is None:
        raise invalid(f"{param}.role", "one of " + ", ".join(map(repr, ROLES)))
    for name, member in value.items():
        check = checks.get(name)
        if check is None:
            raise unknown(f"{param}.{name}")
        if member is not None:
            check(member, f"{param}.{name}")
    _check_completeness(value, param)


def _check_completeness(message: dict[str, Any], param: str) -> None:
    role = message["role"]
    if message.get("content") is None and not (role == "assistant" and message.get("tool_calls")):
        if "content" in message:
            raise invalid(f"{param}.content", "text")
        raise missing(f"{param}.content")
    if role == "tool" and message.get("tool_call_id") is None:
        raise missing(f"{param}.tool_call_id")


def text_of(messages: list[dict[str, Any]]) -> str:
    """The conversation's own words, for whoever judges the prompt; the messages have passed their checks."""
    words: list[str] = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            words.append(content)
        elif content:
            words.extend(part["text"] for part in content)
    return "\n".join(words)


def check_content(value: Any, param: str) -> None:
    """A string, or a list of text parts."""
    if type(value) is str:
        return
    if type(value) is not list:
        raise invalid(param, "a string or an array of text parts")
    items(value, param, each=_check_part, most=MAX_PARTS, least=1)


def _check_part(value: Any, param: str) -> None:
    if type(value) is not dict:
        raise invalid(param, "a text part")
    kind = value.get("type")
    if kind is None:
        raise missing(f"{param}.type")
    if kind != "text":
        raise InvalidRequest("This model reads text only: expected a part of type 'text'.", param=param)
    members(value, param, checks=_PART, required=("text",))


def _check_tool_calls(value: Any, param: str) -> None:
    items(value, param, each=_check_tool_call, most=MAX_TOOL_CALLS, least=1)


def _check_tool_call(value: Any, param: str) -> None:
    members(value, param, checks=_TOOL_CALL, required=("id", "type", "function"))


def _check_called_function(value: Any, param: str) -> None:
    members(value, param, checks=_CALLED_FUNCTION, required=("name", "arguments"))


def _check_arguments(value: Any, param: str) -> None:
    """Chat templates parse the arguments, so they must be a JSON object here already."""
    text(value, param)
    try:
        parse_object(value.encode(), 64)
    except (InvalidRequest, UnicodeEncodeError) as error:
        raise invalid(param, "a string that holds a JSON object") from error


def _empty(value: Any, param: str) -> None:
    items(value, param, each=only_null, most=0)


_NAME: Check = string(64, shortest=1)
_PART: Mapping[str, Check] = MappingProxyType(
    {"type": one_of("text"), "text": text, "prompt_cache_breakpoint": unsupported("Prefixes are cached by themselves.")}
)
_CALLED_FUNCTION: Mapping[str, Check] = MappingProxyType({"name": _NAME, "arguments": _check_arguments})
_TOOL_CALL: Mapping[str, Check] = MappingProxyType(
    {"id": string(256, shortest=1), "type": one_of("function"), "function": _check_called_function}
)
_SPOKEN: Mapping[str, Check] = MappingProxyType({"role": text, "content": check_content, "name": _NAME})
# What a client sends back when it appends an answer of ours to the conversation as it came.
_ANSWERED: Mapping[str, Check] = MappingProxyType(
    {"tool_calls": _check_tool_calls, "refusal": text, "reasoning": text, "reasoning_content": text}
    | {"audio": only_null, "function_call": only_null, "annotations": _empty}
)
_MEMBERS: Mapping[str, Mapping[str, Check]] = MappingProxyType(
    {"system": _SPOKEN, "developer": _SPOKEN, "user": _SPOKEN}
    | {"assistant": MappingProxyType({**_SPOKEN, **_ANSWERED})}
    | {"tool": MappingProxyType({"role": text, "content": check_content, "tool_call_id": string(256, shortest=1)})}
)

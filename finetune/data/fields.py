"""Messages and tools of an example, field by field: OpenAI's shapes, nothing unknown, text alone.

Owns the checks and the path of the field that is wrong. Raises `Problem`, whose words hold none of the text; which line
it is, `examples` knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from models.errors import InvalidRequest
from models.strict_json import parse_object

MAX_MESSAGES = 2048
MAX_PARTS = 1024
MAX_CALLS = 128
MAX_TOOLS = 128
MAX_NAME = 64

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_KEYS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "system": frozenset({"role", "content", "name"}),
        "developer": frozenset({"role", "content", "name"}),
        "user": frozenset({"role", "content", "name"}),
        "assistant": frozenset({"role", "content", "name", "tool_calls", "weight"}),
        "tool": frozenset({"role", "content", "name", "tool_call_id"}),
    }
)
ROLES = tuple(_KEYS)


class Problem(Exception):
    """What is wrong with a field. `path` is empty for the line itself, which the sentence then calls `whole`."""

    def __init__(self, path: str, what: str, *, whole: str = "it") -> None:
        self.path = path or None
        self.sentence = f"{path or whole} {what}."
        super().__init__(self.sentence)


def text_of(value: Any, path: str) -> str:
    """A string, which may be empty."""
    if not isinstance(value, str):
        raise Problem(path, "must be a string")
    return value


def switch_of(value: Any, path: str) -> bool | None:
    """True, false, or not given."""
    if value is not None and not isinstance(value, bool):
        raise Problem(path, "must be true or false")
    return value


def messages_of(value: Any, path: str, *, weights: bool = True) -> tuple[Mapping[str, Any], ...]:
    """1 to `MAX_MESSAGES` messages. Without `weights` there is nothing to weigh, and a weight is unknown."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_MESSAGES:
        raise Problem(path, f"must be an array of 1 to {MAX_MESSAGES} messages")
    for index, message in enumerate(value):
        _check_message(message, f"{path}[{index}]", weights=weights)
    return tuple(value)


def tools_of(value: Any, path: str) -> tuple[Mapping[str, Any], ...]:
    """1 to `MAX_TOOLS` functions, each with a name of its own."""
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_TOOLS:
        raise Problem(path, f"must be an array of 1 to {MAX_TOOLS} tools")
    names = [_tool_name(tool, f"{path}[{index}]") for index, tool in enumerate(value)]
    if len(set(names)) != len(names):
        raise Problem(path, "holds two functions of one name")
    return tuple(value)


def _check_message(message: Any, path: str, *, weights: bool) -> None:
    fields = _object(message, path)
    role = fields.get("role")
    if not isinstance(role, str) or role not in _KEYS:
        raise Problem(f"{path}.role", f"must be one of {', '.join(ROLES)}")
    _only(fields, path, known=_KEYS[role] if weights else _KEYS[role] - {"weight"})
    if fields.get("name") is not None:
        _name(fields["name"], f"{path}.name")
    if role == "assistant":
        _check_assistant(fields, path)
        return
    _check_content(fields.get("content"), f"{path}.content")
    if role == "tool" and not text_of(fields.get("tool_call_id"), f"{path}.tool_call_id"):
        raise Problem(f"{path}.tool_call_id", "must not be empty")


def _check_assistant(fields: Mapping[str, Any], path: str) -> None:
    """Says something or calls something; its weight is 0 or 1."""
    calls, content, weight = fields.get("tool_calls"), fields.get("content"), fields.get("weight")
    if calls is not None:
        _check_calls(calls, f"{path}.tool_calls")
    if content is not None or calls is None:
        _check_content(content, f"{path}.content")
    if weight is not None and (type(weight) is not int or weight not in (0, 1)):
        raise Problem(f"{path}.weight", "must be 0 or 1")
    if not content and calls is None and weight != 0:
        raise Problem(f"{path}.content", "must not be empty: there would be nothing to learn")


def _check_content(value: Any, path: str) -> None:
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PARTS:
        raise Problem(path, f"must be a string, or an array of 1 to {MAX_PARTS} text parts")
    for index, part in enumerate(value):
        fields = _object(part, f"{path}[{index}]")
        if fields.get("type") != "text":
            raise Problem(f"{path}[{index}].type", "must be text: nothing else is trained")
        _only(fields, f"{path}[{index}]", known={"type", "text"})
        text_of(fields.get("text"), f"{path}[{index}].text")


def _check_calls(value: Any, path: str) -> None:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CALLS:
        raise Problem(path, f"must be an array of 1 to {MAX_CALLS} calls")
    for index, call in enumerate(value):
        _check_call(_object(call, f"{path}[{index}]"), f"{path}[{index}]")


def _check_call(call: Mapping[str, Any], path: str) -> None:
    _only(call, path, known={"id", "type", "function"})
    text_of(call.get("id"), f"{path}.id")
    if call.get("type") != "function":
        raise Problem(f"{path}.type", "must be function")
    function = _object(call.get("function"), f"{path}.function")
    _only(function, f"{path}.function", known={"name", "arguments"})
    _name(function.get("name"), f"{path}.function.name")
    arguments = text_of(function.get("arguments"), f"{path}.function.arguments")
    try:
        parse_object(arguments.encode(), 32)  # chat templates are given the object
    except (InvalidRequest, UnicodeEncodeError):
        raise Problem(f"{path}.function.arguments", "must be a string that holds a JSON object") from None


def _tool_name(tool: Any, path: str) -> str:
    fields = _object(tool, path)
    _only(fields, path, known={"type", "function"})
    if fields.get("type") != "function":
        raise Problem(f"{path}.type", "must be function")
    function = _object(fields.get("function"), f"{path}.function")
    _only(function, f"{path}.function", known={"name", "description", "parameters", "strict"})
    if function.get("description") is not None:
        text_of(function["description"], f"{path}.function.description")
    if function.get("parameters") is not None:
        _object(function["parameters"], f"{path}.function.parameters")
    switch_of(function.get("strict"), f"{path}.function.strict")
    return _name(function.get("name"), f"{path}.function.name")


def _name(value: Any, path: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME or not _NAME.fullmatch(value):
        raise Problem(path, f"must be a name of 1 to {MAX_NAME} letters, digits, '_', '.' and '-'")
    return value


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Problem(path, "must be an object")
    return value


def _only(fields: Mapping[str, Any], path: str, *, known: Iterable[str]) -> None:
    """Unknown fields are counted, not named: their names are the file's text."""
    allowed = set(known)
    if unknown := fields.keys() - allowed:
        raise Problem(path, f"holds {len(unknown)} unknown fields; known here: {', '.join(sorted(allowed))}")

"""Whether two texts are the same JSON value, more strictly than Python compares. Pure."""

from __future__ import annotations

import json
from typing import Any


def same_json(one: str, other: str) -> bool:
    """Both are JSON, and equal with their types: 12, 12.0 and true are different; the order of keys does not count."""
    try:
        return bool(_typed(read_json(one)) == _typed(read_json(other)))
    except ValueError:
        return False


def read_json(text: str) -> Any:
    """The value; `ValueError` for what is no JSON, for NaN and Infinity, and for an object with a key twice."""
    try:
        return json.loads(text, object_pairs_hook=_no_repeats, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return (type(value).__name__, value)

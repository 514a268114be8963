"""A JSON object read so that no two readers can disagree about it.

Refused: duplicate keys, NaN, a BOM, nesting deeper than the limit, text that cannot be stored or sent on (lone
surrogates, NUL). Does not own what the fields mean. Numbers beyond 64 bits or beyond a double become infinities,
which no field accepts: the field's own check then refuses them by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from models.errors import InvalidRequest

_OPENING = b"[{"
_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b'"[]{}')
_UNUSABLE_ESCAPE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
_UNUSABLE_TEXT = re.compile("[\ud800-\udfff\x00]")


def parse_object(data: bytes, max_depth: int) -> dict[str, Any]:
    """The object that `data` spells; `invalid_json` when it spells none, `invalid_value` when its text is unusable."""
    if too_deep(data, max_depth):
        raise _invalid(f"The body nests deeper than {max_depth} levels.")
    try:
        document = _decode(data.decode())
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise _invalid("The body is not valid JSON (UTF-8, no duplicate keys, no NaN).") from error
    if not isinstance(document, dict):
        raise _invalid("The body must be a JSON object.")
    if _UNUSABLE_ESCAPE.search(data):
        _refuse_unusable_text(document)
    return document


def too_deep(data: bytes, limit: int) -> bool:
    """Whether brackets nest deeper than `limit`; linear, and without recursion before the parser sees the text."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    unescaped = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_strings = unescaped.translate(None, _NOT_STRUCTURE).split(b'"')[::2]
    depth = 0
    for byte in b"".join(outside_strings):
        depth += 1 if byte in _OPENING else -1
        if depth > limit:
            return True
    return False


def _decode(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python refuses integers of more than 4,300 digits, or a key stood twice: the second reader tells which.
        return _BIG_NUMBER_DECODER.decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _bounded_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 20 else math.inf


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_BIG_NUMBER_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_bounded_integer
)


def _refuse_unusable_text(document: dict[str, Any]) -> None:
    for path, text in _texts(document, ""):
        if _UNUSABLE_TEXT.search(text):
            raise InvalidRequest("The text holds a lone surrogate or a NUL character.", param=path or None)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every string with its path; a key counts as text of the object that holds it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield path, key
            yield from _texts(item, f"{path}.{key}" if path else key)


def _invalid(public: str) -> InvalidRequest:
    return InvalidRequest(public, code="invalid_json")

"""A JSON object read so that no two readers can disagree about it.

Refused: duplicate keys, NaN, a BOM, nesting deeper than the limit, more parts than any request needs, text that cannot
be stored or sent on (lone surrogates, NUL). Does not own what the fields mean. Numbers beyond 64 bits or beyond a
double become infinities, which no field accepts: the field's own check then refuses them by name.

A long body is read in a thread, and so is a file of training examples, line by line. That helps as long as no single
step keeps the interpreter to itself: the parts are counted by fast passes over the bytes, and the parser comes back to
Python at every number and object.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from models.errors import InvalidRequest

MAX_PARTS = 2**17
"""Most strings, and most arrays and objects. The parts of 2,048 messages of 15 texts each stay below."""

_OPENING = b"[{"
_NOT_BRACKET = bytes(byte for byte in range(256) if byte not in b"[]{}")
_UNUSABLE_ESCAPE = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
_UNUSABLE_TEXT = re.compile("[\ud800-\udfff\x00]")


def parse_object(data: bytes, max_depth: int, *, whole: str = "The body") -> dict[str, Any]:
    """The object that `data` spells; `invalid_json` when it spells none, `invalid_value` when its text is unusable.

    `whole`: how the error's sentence, which never holds any of the text, calls what was read.
    """
    if len(data) > MAX_PARTS:  # a shorter body cannot hold more
        _refuse_crowds(data, whole)
    if too_deep(data, max_depth):
        raise _invalid(f"{whole} nests deeper than {max_depth} levels.")
    try:
        document = _DECODER.decode(data.decode())
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise _invalid(f"{whole} is not valid JSON (UTF-8, no duplicate keys, no NaN).") from error
    if not isinstance(document, dict):
        raise _invalid(f"{whole} must be a JSON object.")
    if _UNUSABLE_ESCAPE.search(data):
        _refuse_unusable_text(document)
    return document


def too_deep(data: bytes, limit: int) -> bool:
    """Whether brackets nest deeper than `limit`; linear, and without recursion before the parser sees the text."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    depth = 0
    for byte in _brackets(_without_escapes(data)):
        depth += 1 if byte in _OPENING else -1
        if depth > limit:
            return True
    return False


def _refuse_crowds(data: bytes, whole: str) -> None:
    plain = _without_escapes(data)
    if plain.count(b'"') > 2 * MAX_PARTS:
        raise _invalid(f"{whole} holds more than {MAX_PARTS} strings.")
    brackets = _brackets(plain)
    if brackets.count(b"[") + brackets.count(b"{") > MAX_PARTS:
        raise _invalid(f"{whole} holds more than {MAX_PARTS} arrays and objects.")


def _without_escapes(data: bytes) -> bytes:
    return data.replace(b"\\\\", b"").replace(b'\\"', b"")


def _brackets(plain: bytes) -> bytes:
    """The brackets outside of strings."""
    return b"".join(plain.split(b'"')[::2]).translate(None, _NOT_BRACKET)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _integer(digits: str) -> int | float:
    """Python refuses integers of more than 4,300 digits; no field takes one of more than 20."""
    return int(digits) if len(digits) <= 20 else math.inf


def _fraction(digits: str) -> float:
    return float(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer, parse_float=_fraction
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

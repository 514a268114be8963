"""The strict little checks that request fields are declared with. A check raises, or the value is good as it is.

Owns types and bounds of single values. Does not own which field has which check (`parameters`, `messages`, `tools`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from models.errors import InvalidRequest
from serving.api.errors import echo

Check = Callable[[Any, str], None]

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


def invalid(param: str, expected: str) -> InvalidRequest:
    """The error for a value that is not what its field takes."""
    return InvalidRequest(f"Invalid value for '{echo(param)}': expected {expected}.", param=param)


def missing(param: str) -> InvalidRequest:
    """The error for a field that must be there."""
    return InvalidRequest(
        f"Missing required parameter: '{echo(param)}'.", code="missing_required_parameter", param=param
    )


def unknown(param: str) -> InvalidRequest:
    """The error for a field that nobody reads."""
    return InvalidRequest(f"Unknown parameter: '{echo(param)}'.", code="unknown_parameter", param=param)


def unsupported(instead: str = "") -> Check:
    """A field of OpenAI's that nothing here can honour: known, and refused rather than dropped."""

    def check(value: Any, param: str) -> None:  # noqa: ARG001
        sentence = f"Invalid value for '{echo(param)}': not supported here."
        raise InvalidRequest(f"{sentence} {instead}".rstrip(), param=param)

    return check


def number(low: float, high: float, *, above_low: bool = False) -> Check:
    """A JSON number in [low, high], or (low, high]; never true, false or a string."""
    expected = f"a number {'above' if above_low else 'from'} {low} {'and up to' if above_low else 'to'} {high}"

    def check(value: Any, param: str) -> None:
        if type(value) not in (int, float) or not low <= value <= high or (above_low and value == low):
            raise invalid(param, expected)

    return check


def integer(low: int, high: int) -> Check:
    """A JSON integer in [low, high]; 1.0 is none."""

    def check(value: Any, param: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise invalid(param, f"an integer from {low} to {high}")

    return check


def boolean(value: Any, param: str) -> None:
    """true or false."""
    if type(value) is not bool:
        raise invalid(param, "true or false")


def string(longest: int, *, shortest: int = 0) -> Check:
    """Text of a bounded number of characters."""

    def check(value: Any, param: str) -> None:
        if type(value) is not str or not shortest <= len(value) <= longest:
            raise invalid(param, f"a string of {shortest} to {longest} characters")

    return check


def text(value: Any, param: str) -> None:
    """Text of any length."""
    if type(value) is not str:
        raise invalid(param, "a string")


def only_null(value: Any, param: str) -> None:
    """A field that is known and that nothing can be asked with; null never reaches a check."""
    if value is not None:
        raise invalid(param, "null")


def one_of(*accepted: str | bool) -> Check:
    """One of a few words (or the one accepted boolean)."""
    expected = "one of " + ", ".join(repr(word) if isinstance(word, str) else str(word).lower() for word in accepted)

    def check(value: Any, param: str) -> None:
        if not any(type(value) is type(word) and value == word for word in accepted):
            raise invalid(param, expected)

    return check


def members(value: Any, param: str, *, checks: Mapping[str, Check], required: Iterable[str] = ()) -> None:
    """An object whose keys are all declared and whose values pass; null stands for an absent optional member."""
    if type(value) is not dict:
        raise invalid(param, "an object")
    for name in required:
        if value.get(name) is None:
            raise missing(f"{param}.{name}" if param else name)
    for name, member in value.items():
        check = checks.get(name)
        path = f"{param}.{name}" if param else name
        if check is None:
            raise unknown(path)
        if member is not None:
            check(member, path)


def items(value: Any, param: str, *, each: Check, most: int, least: int = 0) -> None:
    """An array of a bounded number of items that all pass."""
    if type(value) is not list or not least <= len(value) <= most:
        raise invalid(param, f"an array of {least} to {most} items")
    for index, item in enumerate(value):
        each(item, f"{param}[{index}]")

"""Regular expressions from callers: short, valid, and matched in linear time by any engine.

Owns the refusal of nested and overlapping repetition. Does not own matching: no pattern of a caller runs here.
"""

from __future__ import annotations

import re
import threading
import warnings
from typing import Any

from models.errors import InvalidRequest

MAX_LENGTH = 256
MAX_REPEAT = 1000
# What `catch_warnings` puts back belongs to the whole process, and long bodies are read in a thread.
_PARSING = threading.Lock()
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})
_REFUSED = frozenset({"ASSERT", "ASSERT_NOT", "GROUPREF", "GROUPREF_EXISTS"})


def check_pattern(value: Any, param: str) -> None:
    """A pattern that is safe to hand on; the error names the caller's field and not the pattern."""
    if type(value) is not str or len(value) > MAX_LENGTH:
        raise _refuse(param, f"a pattern must be a string of at most {MAX_LENGTH} characters")
    try:
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = re._parser.parse(value)  # type: ignore[attr-defined]
    except (re.error, OverflowError, RecursionError) as error:
        raise _refuse(param, "a pattern is not a valid regular expression") from error
    if reason := _danger(parsed, repeated=False, copies=1):
        raise _refuse(param, reason)


def _danger(parsed: Any, *, repeated: bool, copies: int) -> str | None:
    """Why a parsed pattern is refused; `repeated`: inside a repetition of variable length."""
    for operation, argument in parsed:
        name = str(operation)
        if name in _REFUSED:
            return "a pattern uses a look-around or a back-reference"
        if name in _REPEATS:
            reason = _repeat_danger(argument, repeated=repeated, copies=copies)
        elif name == "BRANCH":
            reason = _branch_danger(argument[1], repeated=repeated, copies=copies)
        elif name in ("SUBPATTERN", "ATOMIC_GROUP"):
            inner = argument[-1] if name == "SUBPATTERN" else argument
            reason = _danger(inner, repeated=repeated, copies=copies)
        else:
            reason = None
        if reason:
            return reason
    return None


def _repeat_danger(argument: Any, *, repeated: bool, copies: int) -> str | None:
    low, high, inner = argument
    looped = copies > 1
    unbounded = high is re._parser.MAXREPEAT  # type: ignore[attr-defined]
    copies *= max(low, 1) if unbounded else max(high, 1)
    if copies > MAX_REPEAT:
        return f"a pattern repeats more than {MAX_REPEAT} times"
    variable = low != high and high != 1
    if variable and (repeated or (unbounded and looped)):
        return "a pattern nests one repetition in another"
    if high > 1 and inner.getwidth()[0] == 0:
        return "a pattern repeats what can be empty"
    return _danger(inner, repeated=repeated or variable, copies=copies)


def _branch_danger(branches: list[Any], *, repeated: bool, copies: int) -> str | None:
    if repeated and not _start_apart(branches):
        return "a pattern repeats alternatives that can begin alike"
    for branch in branches:
        if reason := _danger(branch, repeated=repeated, copies=copies):
            return reason
    return None


def _start_apart(branches: list[Any]) -> bool:
    """Whether every alternative begins with its own literal character."""
    starts = [branch[0][1] if len(branch) and str(branch[0][0]) == "LITERAL" else None for branch in branches]
    return None not in starts and len(set(starts)) == len(starts)


def _refuse(param: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid schema in '{param}': {reason}.", param=param)

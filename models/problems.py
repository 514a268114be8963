"""What is wrong with a file that was read, in one line: pydantic and YAML tell it in many.

Owns the words for the first problem. Who raises says which file it was.
"""

from __future__ import annotations

from pydantic import ValidationError
from yaml import MarkedYAMLError, YAMLError

OWN = "Value error, "
"""What pydantic puts before the words of a validator of ours."""


def first_problem(error: ValidationError, *, whole: str = "the file") -> str:
    """`field.of.it: what is wrong`, of the first problem; `whole` stands for the field where it is all of it."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or whole
    return _one_line(f"{where}: {first['msg'].removeprefix(OWN)}")


def yaml_problem(error: YAMLError) -> str:
    """`line 3, column 5: what is wrong`; without the place where YAML does not know it."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return _one_line(str(error))
    mark = error.problem_mark
    return _one_line(f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}")


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")

"""JSON schemas from callers: bounded in depth and size, known type names, patterns that match in linear time.

Owns what may be handed to the engine's grammar compiler. Does not own the meaning of a schema: the engine enforces it.
"""

from __future__ import annotations

import math
from typing import Any

from models.errors import InvalidRequest
from serving.api.checks import INT64_MAX, INT64_MIN, invalid
from serving.api.patterns import check_pattern

MAX_DEPTH = 16
MAX_NODES = 1000
# Compiling takes more than linear time: 64 KiB of `const` or `enum` half a second to one, 128 KiB two, 3 MB minutes.
MAX_CHARACTERS = 64 * 1024
TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})

_ONE = frozenset(
    {"additionalProperties", "additionalItems", "contains", "else", "if", "not", "propertyNames", "then"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
_MANY = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_REMARKS = frozenset({"$comment", "description", "title"})  # the compiler skips them: a megabyte costs nothing


def check_schema(value: Any, param: str) -> None:
    """A schema object the engine can compile; the error names `param`, the caller's field that holds the schema."""
    SchemaCheck()(value, param)


class SchemaCheck:
    """`check_schema` for several schemas that the engine compiles together: they share the bound on characters."""

    def __init__(self) -> None:
        self._characters = 0

    def __call__(self, value: Any, param: str) -> None:
        """Check one more."""
        if type(value) is not dict:
            raise invalid(param, "a JSON schema object")
        walk = _SchemaWalk(param, characters=self._characters)
        walk.schema(value, 1)
        self._characters = walk.characters


class _SchemaWalk:
    """One pass over a schema; depth is bounded, so recursion is."""

    def __init__(self, param: str, *, characters: int) -> None:
        self._param = param
        self._nodes = 0
        self.characters = characters

    def schema(self, value: Any, depth: int) -> None:
        self._count(depth)
        if type(value) is bool:
            return
        if type(value) is not dict:
            raise self._refuse("a subschema must be an object, true or false")
        for keyword, member in value.items():
            self._measure(keyword)
            self._keyword(keyword, member, depth=depth)

    def _keyword(self, keyword: str, member: Any, *, depth: int) -> None:
        if keyword in _ONE or (keyword == "items" and type(member) is not list):
            self.schema(member, depth + 1)
        elif keyword in _MANY or keyword == "items":
            for item in self._array(keyword, member):
                self.schema(item, depth + 1)
        elif keyword in _NAMED:
            self._named(keyword, member, depth=depth)
        else:
            self._plain(keyword, member, depth=depth)

    def _named(self, keyword: str, member: Any, *, depth: int) -> None:
        if type(member) is not dict:
            raise self._refuse(f"'{keyword}' must be an object")
        for name, item in member.items():
            self._measure(name)
            if keyword == "patternProperties":
                check_pattern(name, self._param)
            self.schema(item, depth + 1)

    def _plain(self, keyword: str, member: Any, *, depth: int) -> None:
        if keyword in _REMARKS and type(member) is str:
            return
        if keyword == "type":
            names = member if type(member) is list else [member]
            if not names or not all(type(name) is str and name in TYPES for name in names):
                raise self._refuse(f"'type' must be one of {', '.join(sorted(TYPES))}")
        elif keyword == "pattern":
            check_pattern(member, self._param)
        elif keyword == "required":
            if not all(type(name) is str for name in self._array(keyword, member)):
                raise self._refuse("'required' must be an array of strings")
        elif keyword == "$ref" and not (type(member) is str and member.startswith("#")):
            raise self._refuse("'$ref' must point into the same schema")
        self._data(member, depth)

    def _data(self, value: Any, depth: int) -> None:
        """Plain JSON inside a schema (`enum`, `const`, `default`, bounds): counted, its numbers finite and 64-bit."""
        if type(value) is dict:
            for name in value:
                self._measure(name)
        if type(value) is dict or type(value) is list:
            for item in value.values() if type(value) is dict else value:
                self._count(depth + 1)
                self._data(item, depth + 1)
        elif type(value) is str:
            self._measure(value)
        elif type(value) is float and not math.isfinite(value):
            raise self._refuse("numbers must be finite")
        elif type(value) is int and not INT64_MIN <= value <= INT64_MAX:
            raise self._refuse("integers must fit 64 bits")

    def _array(self, keyword: str, member: Any) -> list[Any]:
        if type(member) is not list:
            raise self._refuse(f"'{keyword}' must be an array")
        return member

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise self._refuse(f"it nests deeper than {MAX_DEPTH} levels")
        if self._nodes > MAX_NODES:
            raise self._refuse(f"it has more than {MAX_NODES} nodes")

    def _measure(self, text: str) -> None:
        self.characters += len(text)
        if self.characters > MAX_CHARACTERS:
            raise self._refuse(f"names and values of the request's schemas have more than {MAX_CHARACTERS} characters")

    def _refuse(self, reason: str) -> InvalidRequest:
        return InvalidRequest(f"Invalid schema in '{self._param}': {reason}.", param=self._param)

"""The query of a list, OpenAI's `limit`, `after` and `order`, strictly, and the page that answers it. Does not own what
is listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from re import Pattern
from typing import Any, Literal
from urllib.parse import parse_qsl

from starlette.requests import Request

from models.errors import InvalidRequest
from serving.api.checks import invalid, unknown

LONGEST = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """Which part of a list is asked for. `also`: the other parameters that were given."""

    limit: int
    after: str | None
    order: Literal["asc", "desc"]
    also: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Paging:
    """What a list takes. `ids`: how its ids look; `also`: names of further parameters, of at most 64 characters;
    `pairs`: how more names look, whose values are somebody else's to check; `ordered`: whether it takes `order`.
    """

    ids: Pattern[str]
    default: int
    most: int
    also: frozenset[str] = frozenset()
    pairs: Pattern[str] | None = None
    ordered: bool = True

    def asked(self, request: Request) -> Asked:
        """What the query says; raises `InvalidRequest`."""
        names = self.also | {"limit", "after"} | ({"order"} if self.ordered else set())
        given = query(request, names, pairs=self.pairs)
        order = given.pop("order", "desc")
        if order not in ("asc", "desc"):
            raise invalid("order", "one of 'asc', 'desc'")
        after = given.pop("after", None)
        if after is not None and not self.ids.fullmatch(after):
            raise InvalidRequest("'after' is the id of the last thing on the page before.", param="after")
        return Asked(self._limit(given.pop("limit", None)), after, "asc" if order == "asc" else "desc", given)

    def _limit(self, told: str | None) -> int:
        if told is None:
            return self.default
        if not (told.isascii() and told.isdigit()) or not 1 <= int(told) <= self.most:
            raise invalid("limit", f"an integer from 1 to {self.most}")
        return int(told)


def query(request: Request, names: Set[str], *, pairs: Pattern[str] | None = None) -> dict[str, str]:
    """The query's parameters, each once, known, and of 1 to 64 characters; raises `InvalidRequest`. `pairs`: how more
    names look, whose values may be of any length.
    """
    given: dict[str, str] = {}
    for name, value in parse_qsl(request.url.query, keep_blank_values=True):
        paired = pairs is not None and pairs.fullmatch(name) is not None
        if not paired and name not in names:
            raise unknown(name)
        if name in given:
            raise invalid(name, "one value")
        if not paired and not 0 < len(value) <= LONGEST:
            raise invalid(name, f"one value of 1 to {LONGEST} characters")
        given[name] = value
    return given


def page(data: Sequence[Mapping[str, Any]], *, more: bool) -> dict[str, Any]:
    """One page as OpenAI shows it. `more`: whether another one follows."""
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more}

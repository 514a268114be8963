"""The gate's report as a page of Markdown, whatever is in it: tables of what repeats, sections of what is inside.

Pure text. Owns no figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

DEEPEST = 6


def markdown(report: Mapping[str, Any], *, title: str = "Report of the gate") -> str:
    """The page, ending in a newline."""
    return "\n".join(_section(title, report, depth=1)) + "\n"


def _section(title: str, value: Any, *, depth: int) -> Iterator[str]:
    yield f"{'#' * min(depth, DEEPEST)} {_words(title)}"
    yield ""
    if isinstance(value, Mapping):
        yield from _mapping(value, depth=depth)
    elif value and all(isinstance(one, Mapping) for one in value):
        yield from _table(value)
    else:
        yield from (f"* {_cell(one)}" for one in value)
        yield ""


def _mapping(value: Mapping[str, Any], *, depth: int) -> Iterator[str]:
    plain = {name: one for name, one in value.items() if not isinstance(one, Mapping | list | tuple)}
    if plain:
        yield from (f"* {_words(name)}: {_cell(one)}" for name, one in plain.items())
        yield ""
    for name, one in value.items():
        if name not in plain and one:
            yield from _section(name, one, depth=depth + 1)


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    yield _line(map(_words, names))
    yield _line("---" for _ in names)
    yield from (_line(_cell(row.get(name)) for name in names) for row in rows)
    yield ""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _words(name: str) -> str:
    return str(name).replace("_", " ")


def _cell(value: Any) -> str:
    """One line, in which nothing of a model's or a client's text is markup."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    text = " ".join(str(value).split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in text)

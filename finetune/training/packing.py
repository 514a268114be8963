"""Which examples share a row: best fit decreasing. Pure: lengths in, rows out, the same for the same lengths.

Owns who lies with whom. Does not make tensors (`batches.py`), or choose which examples are of one step (`plan.py`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

Row = tuple[int, ...]
"""Examples, by their numbers, one behind the other."""


def packed(lengths: Sequence[int], *, width: int) -> list[Row]:
    """Rows of the examples 0 … len(lengths) - 1: none is longer than `width` tokens, unless it is one example alone.

    Best fit decreasing (Johnson 1973): the longest first, each into the fullest row that still has room for it. At
    most 11/9 of the fewest possible rows, and one.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens that are free, row), sorted
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        at = bisect_left(room, (lengths[index], -1))
        if at < len(room):
            free, row = room.pop(at)
            rows[row].append(index)
        else:
            free, row = width, len(rows)
            rows.append([index])
        insort(room, (free - lengths[index], row))
    return [tuple(row) for row in rows]


def grouped(rows: Iterable[Row], lengths: Sequence[int], *, tokens: int) -> list[tuple[Row, ...]]:
    """Rows of about one width together, so that a group times its widest row is at most `tokens`, or one row."""
    groups: list[list[Row]] = []
    widest = 0
    widths = {row: sum(lengths[index] for index in row) for row in rows}
    for row, width in sorted(widths.items(), key=lambda item: (-item[1], item[0])):
        if not groups or (len(groups[-1]) + 1) * widest > tokens:
            groups.append([])
            widest = width
        groups[-1].append(row)
    return [tuple(group) for group in groups]


def shared(rows: Sequence[Row], lengths: Sequence[int], *, among: int) -> list[list[Row]]:
    """The rows of each of `among` processes, about equal in tokens: the longest first, each to whom has fewest."""
    parts: list[list[Row]] = [[] for _ in range(among)]
    tokens = [0] * among
    widths = {row: sum(lengths[index] for index in row) for row in rows}
    for row, width in sorted(widths.items(), key=lambda item: (-item[1], item[0])):
        least = tokens.index(min(tokens))
        parts[least].append(row)
        tokens[least] += width
    return parts

"""Which lines of a file are kept for the gate where a job names no golden file. Pure: it does not hang on their order.

A line is chosen by its digest, so every copy of it is on the same side. Whoever trains, whoever looks at the training,
and whoever judges it draw the same line, each for itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest

from finetune.gate.golden import BOM

TENTH, LEAST, QUARTER, MOST = 10, 50, 4, 200
MOST_HALF = 1_000
SALT = b"0\0"

KEPT = 2 * MOST_HALF
"""So many of the lowest ranks tell how many are chosen, and which: of more lines no more are."""

Share = Callable[[int], int]
"""How many of so many different lines are kept for the gate."""


def of_training(count: int) -> int:
    """A tenth, 50 at least as far as that is no more than a quarter, 200 at most."""
    return min(max(count // TENTH, min(LEAST, count // QUARTER)), MOST)


def of_validation(count: int) -> int:
    """Half, 1,000 at most; none of fewer than 100, of which a half says too little of a version."""
    return min(count // 2, MOST_HALF) if count >= 2 * LEAST else 0


def chosen_of(lines: Iterable[bytes], share: Share) -> frozenset[bytes]:
    """The ranks of the lines that are kept for the gate; in memory are some thousand, however many lines there are."""
    lowest: set[bytes] = set()
    for _, line in numbered(lines):
        lowest.add(rank(line))
        if len(lowest) > 2 * KEPT:
            lowest = set(nsmallest(KEPT, lowest))
    return frozenset(nsmallest(share(len(lowest)), lowest))


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Those that hold something, bare, each with its place among all, from 1."""
    return ((number, line) for number, raw in enumerate(lines, 1) if (line := bare(raw)))


def bare(raw: bytes) -> bytes:
    """A line without what is around it."""
    return raw.removeprefix(BOM).strip()


def rank(line: bytes) -> bytes:
    """Where a bare line stands among all."""
    return hashlib.sha256(SALT + line).digest()

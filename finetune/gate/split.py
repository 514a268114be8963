"""A golden set out of a training file, where a job names none. Pure: which lines does not hang on order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from heapq import nsmallest

from finetune.gate.golden import BOM

TENTH, LEAST, QUARTER, MOST = 10, 50, 4, 200
HELD_OUT_SEED = 0
"""Of every job: who trains and who judges must draw the same line."""


KEPT = TENTH * MOST
"""So many of the lowest ranks tell how many are held out, and which: of more lines no more are."""


def held_out(lines: Iterable[bytes], seed: int) -> tuple[list[bytes], list[bytes]]:
    """(to train on, to judge by). Held out are a tenth of the different lines, 50 at least as far as that is no more
    than a quarter, 200 at most.

    Which ones is decided by the digest of a line and the seed, so neither order nor doubles change it: every copy of a
    line is on the same side. Blank lines are dropped; the order stays; what is held out has no doubles.
    """
    kept = list(stripped(lines))
    chosen = chosen_of(kept, seed)
    training = [line for line in kept if rank(line, seed) not in chosen]
    golden = dict.fromkeys(line for line in kept if rank(line, seed) in chosen)
    return training, list(golden)


def chosen_of(lines: Iterable[bytes], seed: int) -> frozenset[bytes]:
    """The ranks of the lines that are held out; in memory are some thousand, however many lines there are."""
    lowest: set[bytes] = set()
    for line in lines:
        lowest.add(rank(line, seed))
        if len(lowest) > 2 * KEPT:
            lowest = set(nsmallest(KEPT, lowest))
    count = min(max(len(lowest) // TENTH, min(LEAST, len(lowest) // QUARTER)), MOST)
    return frozenset(nsmallest(count, lowest))


def stripped(lines: Iterable[bytes]) -> Iterator[bytes]:
    """What of the lines counts: those that hold something, without what is around it."""
    return (line for raw in lines if (line := raw.removeprefix(BOM).strip()))


def rank(line: bytes, seed: int) -> bytes:
    """Where a stripped line stands among all."""
    return hashlib.sha256(b"%d\0" % seed + line).digest()

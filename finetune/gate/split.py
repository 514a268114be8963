"""A golden set out of a training file, where a job names none. Pure: the same lines are held out wherever they stand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

TENTH = 10
MOST_HELD_OUT = 200


def held_out(lines: Iterable[bytes], seed: int) -> tuple[list[bytes], list[bytes]]:
    """(to train on, to judge by): a tenth of the different lines, 200 at most, never all of them.

    Which ones is decided by the digest of a line and the seed, so neither order nor doubles change it: every copy of a
    line is on the same side. Blank lines are dropped; the order stays.
    """
    kept = [line.strip() for line in lines if line.strip()]
    ranked = sorted({_rank(line, seed) for line in kept})
    count = min(max(1, len(ranked) // TENTH), MOST_HELD_OUT) if len(ranked) > 1 else 0
    chosen = frozenset(ranked[:count])
    training = [line for line in kept if _rank(line, seed) not in chosen]
    return training, [line for line in kept if _rank(line, seed) in chosen]


def _rank(line: bytes, seed: int) -> bytes:
    return hashlib.sha256(b"%d\0" % seed + line).digest()

"""A golden set out of a training file, where a job names none. Pure: which lines does not hang on order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from finetune.gate.golden import BOM

TENTH, LEAST, QUARTER, MOST = 10, 50, 4, 200
HELD_OUT_SEED = 0
"""Of every job: who trains and who judges must draw the same line."""


def held_out(lines: Iterable[bytes], seed: int) -> tuple[list[bytes], list[bytes]]:
    """(to train on, to judge by). Held out are a tenth of the different lines, 50 at least as far as that is no more
    than a quarter, 200 at most.

    Which ones is decided by the digest of a line and the seed, so neither order nor doubles change it: every copy of a
    line is on the same side. Blank lines are dropped; the order stays; what is held out has no doubles.
    """
    stripped = (line.removeprefix(BOM).strip() for line in lines)
    kept = [line for line in stripped if line]
    ranked = sorted({_rank(line, seed) for line in kept})
    count = min(max(len(ranked) // TENTH, min(LEAST, len(ranked) // QUARTER)), MOST)
    chosen = frozenset(ranked[:count])
    training = [line for line in kept if _rank(line, seed) not in chosen]
    golden = dict.fromkeys(line for line in kept if _rank(line, seed) in chosen)
    return training, list(golden)


def _rank(line: bytes, seed: int) -> bytes:
    return hashlib.sha256(b"%d\0" % seed + line).digest()

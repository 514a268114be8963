"""What caches of a few slots could reach at best under Zipf's popularity, whatever serves them. Pure.

Each replica is an LRU cache of its slots. Calls come one at a time and go to any replica, or each name to one of its
own: between the two lies all that choosing replicas can win.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate

DRAWS = 40_000


class LruSlots:
    """One replica's slots."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._names: OrderedDict[int, None] = OrderedDict()

    def hit(self, name: int) -> bool:
        """Use a name; whether it was there."""
        there = name in self._names
        self._names[name] = None
        self._names.move_to_end(name)
        if len(self._names) > self._slots:
            self._names.popitem(last=False)
        return there


def hit_rate(weights: Sequence[float], *, replicas: int, slots: int, own: bool, seed: int) -> float:
    """The part 0…1 of the calls that find their name; `own`: each name has one replica, drawn evenly."""
    chance = random.Random(seed)
    homes = [chance.randrange(replicas) for _ in weights]
    caches = [LruSlots(slots) for _ in range(replicas)]
    drawn = chance.choices(range(len(weights)), cum_weights=list(accumulate(weights)), k=DRAWS)
    return sum(caches[homes[name] if own else chance.randrange(replicas)].hit(name) for name in drawn) / DRAWS

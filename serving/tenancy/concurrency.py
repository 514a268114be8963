"""How many generations of one key run at once, in this gateway process: one key cannot fill the queue.

Owns the count and this gateway's share of a limit. Does not own the limit itself: the key carries it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager

from models.errors import InvalidRequest, RateLimited
from models.types import Principal

Widen = Callable[[int], None]


class KeyConcurrency:
    """Slots per key, taken for a context's length. Each of the gateways there are now gives its share, rounded up.

    A call takes one slot before its body is read, and the rest when it is known how many generations it is. One that
    needs more than a gateway's share, but not more than the limit, runs while nothing else of the key does.
    """

    def __init__(self, *, gateways: Callable[[], int] = lambda: 1) -> None:
        self._gateways = gateways
        self._running: Counter[str] = Counter()

    def running(self, key_id: str) -> int:
        """Slots of a key that are taken now."""
        return self._running[key_id]

    @contextmanager
    def hold(self, caller: Principal) -> Generator[Widen]:
        """One slot, and the way to take more; raises `RateLimited` at once when the key has none left."""
        key, held = caller.key_id, 0

        def widen(generations: int) -> None:
            nonlocal held
            self._admit(caller, generations, others=self._running[key] - held)
            self._running[key] += generations - held
            held = generations

        try:
            widen(1)
            yield widen
        finally:
            self._running[key] -= held
            if not self._running[key]:
                del self._running[key]

    def _admit(self, caller: Principal, generations: int, *, others: int) -> None:
        limit = caller.concurrency
        if limit is None:
            return
        if generations > limit:
            raise InvalidRequest(
                f"The request is {generations} generations (n for each prompt), and this key runs {limit} at a time.",
                param="n",
            )
        if others and others + generations > math.ceil(limit / max(1, self._gateways())):
            raise RateLimited(f"This key runs its {limit} generations at a time already.", retry_after_s=1)

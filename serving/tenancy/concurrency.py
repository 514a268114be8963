"""How many calls of one key run at once, in this gateway process: one key cannot fill the queue.

Owns the count and this gateway's share of a limit. Does not own the limit itself: the key carries it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager

from models.errors import RateLimited
from models.types import Principal


class KeyConcurrency:
    """Slots per key, taken for a context's length. Each of the gateways there are now gives its share, rounded up."""

    def __init__(self, *, gateways: Callable[[], int] = lambda: 1) -> None:
        self._gateways = gateways
        self._running: Counter[str] = Counter()

    def running(self, key_id: str) -> int:
        """Slots of a key that are taken now."""
        return self._running[key_id]

    @contextmanager
    def hold(self, caller: Principal) -> Generator[None]:
        """One slot; raises `RateLimited` at once when the key has none left."""
        key, limit = caller.key_id, caller.concurrency
        if limit is not None and self._running[key] >= math.ceil(limit / max(1, self._gateways())):
            raise RateLimited(f"This key runs its {limit} calls at a time already.", retry_after_s=1)
        self._running[key] += 1
        try:
            yield
        finally:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]

"""The versions that this process works on: a row in the middle of a step that names it as holder, and is not here, was
left behind. Owns the list in memory alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class InHand:
    """Pushes and releases that are under way here."""

    def __init__(self) -> None:
        self._versions: set[tuple[str, int]] = set()

    @contextmanager
    def holding(self, adapter: str, number: int) -> Iterator[None]:
        """This version is in hand while the block is open."""
        self._versions.add((adapter, number))
        try:
            yield
        finally:
            self._versions.discard((adapter, number))

    def __contains__(self, version: tuple[str, int]) -> bool:
        """By adapter id and number."""
        return version in self._versions

"""Protocols that cross packages: what an upper floor passes down, or what the gateway asks of its surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from models.types import Endpoint


class EndpointDirectory(Protocol):
    """Where the live replicas of a card's engine listen. Cheap to ask: called for every request."""

    def endpoints(self, card: str) -> Sequence[Endpoint]:
        """The replicas known now; empty when there is none (or the card is not deployed)."""
        ...

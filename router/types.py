"""Values of the router alone; those that leave it (`Route`, `Plan`) are in `models/types.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from models.types import Tier


class Contribution(NamedTuple):
    """What one feature added to a score: `value` (0…1) × `weight` = `points`; `reason` says what was seen."""

    feature: str
    value: float
    weight: float
    points: float
    reason: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """What this stack can serve: every deployed card with its tier, and the card that stands for each tier."""

    cards: Mapping[str, Tier]
    tiers: Mapping[Tier, str]

    @property
    def candidates(self) -> tuple[str, ...]:
        """Every card that a plan has to account for, in a fixed order."""
        return tuple(dict.fromkeys((*self.tiers.values(), *self.cards)))

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
class Candidate:
    """What a model in the shadow of the live one says of the same prompt, and the threshold that it would have."""

    version: str
    gain: float
    threshold: float

    @property
    def tier(self) -> Tier:
        """Where it would send the prompt."""
        return "large" if self.gain >= self.threshold else "small"


@dataclass(frozen=True, slots=True)
class Reading:
    """What the classifier says of one prompt.

    `small`, `large`: expected quality of either tier's answer (0…1); `gain`: what a large answer adds, compared with
    `threshold`; `error`: how uncertain the gain is; `distance`: 1 - cosine to the nearest labelled prompt; `objection`:
    why it should not be relied on, if it should not. `retrieval`: probability that the prompt needs retrieval;
    `sentence`: the prompt's vector, float32 in the machine's order, for whoever needs it next.
    """

    version: str
    threshold: float
    gain: float
    small: float
    large: float
    error: float
    distance: float
    objection: str | None = None
    task: str | None = None
    retrieval: float | None = None
    sentence: bytes = b""
    shadow: Candidate | None = None
    cause: str = "declined"


@dataclass(frozen=True, slots=True)
class NoReading:
    """The classifier said nothing that can be used: why, and the word under which it is counted."""

    cause: str
    objection: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """What this stack can serve: every deployed card with its tier, and the card that stands for each tier."""

    cards: Mapping[str, Tier]
    tiers: Mapping[Tier, str]

    @property
    def candidates(self) -> tuple[str, ...]:
        """Every card that a plan has to account for, in a fixed order."""
        return tuple(dict.fromkeys((*self.tiers.values(), *self.cards)))

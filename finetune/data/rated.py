"""A rated answer as the records know it: what was asked, what was answered, and what its users said of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one user said last: `up` or `down`, and the answer as it should be, where they wrote one."""

    rating: str
    corrected: str | None


@dataclass(frozen=True, slots=True)
class RatedCall:
    """One chat. `keeps_text`: whether its org still keeps texts; where not, none is here.

    `messages` is the record's `prompt_messages`: `messages` with `tools`, or `omitted` with the reason; None in records
    older than it. `whole`: answered with 200, to a client that stayed, and ended by the model itself.
    """

    uid: str
    started_at: float
    org: str
    feature: str | None
    cohort: str | None
    whole: bool
    keeps_text: bool
    prompt: str | None
    messages: Mapping[str, Any] | None
    answer: str | None
    opinions: tuple[Opinion, ...]

"""Policy `threshold`: a documented score of the prompt; from a threshold on, the large tier answers.

The score is the sum of feature × weight, cut to 0…1; every feature is a number from 0 to 1 of `router/features.py`. It
is a rule of thumb that anybody can read and argue with: it has learned nothing and never saw how well a tier answers.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.config import Frozen, PluginSettings
from models.types import GenerationRequest, Route
from router.features import measure
from router.types import Contribution, Reading


class Weights(Frozen):
    """Points of each feature at its full value. Negative: speaks for the small tier."""

    length: float = Field(0.3, ge=-1, le=1, description="Full at 4,000 characters: long contexts lose small models.")
    numbers: float = Field(
        0.15, ge=-1, le=1, description="Two numbers or more, full at four: something may be computed."
    )
    facts: float = Field(0.4, ge=-1, le=1, description="Four sentences or more, full at seven: facts to choose from.")
    lookup: float = Field(
        0.2, ge=-1, le=1, description="Who, where, which, what: an answer to be looked up in the text."
    )
    calculation: float = Field(0.45, ge=-1, le=1, description="How many, total, left, percent: arithmetic in words.")
    reasoning: float = Field(0.5, ge=-1, le=1, description="Why, compare, step by step: several steps of thought.")
    code: float = Field(
        0.4, ge=-1, le=1, description="Code fences, languages, traces: small models write code that fails."
    )
    fields: float = Field(
        0.5, ge=-1, le=1, description="JSON, CSV, extract: several values to be found, and each put in its place."
    )
    turns: float = Field(0.15, ge=-1, le=1, description="Two user turns or more, full at six: references across turns.")
    form: float = Field(
        -0.35, ge=-1, le=1, description="Classify, rewrite, translate: the answer is the prompt in another form."
    )


class ThresholdSettings(PluginSettings):
    """Where small ends and large begins, and what counts."""

    kind: Literal["threshold"] = Field(
        "threshold", description="A weighted sum of prompt features against a threshold."
    )
    threshold: float = Field(0.4, ge=0, le=1, description="Scores from here on go to the large tier.")
    weights: Weights = Field(default_factory=Weights, description="Points of each feature.")


class ThresholdPolicy:
    """Scores a prompt and compares."""

    def __init__(self, settings: ThresholdSettings) -> None:
        self._threshold = settings.threshold
        self._weights: dict[str, float] = settings.weights.model_dump()

    def choose(self, request: GenerationRequest, _reading: Reading | None = None, /) -> Route:
        """Large first from the threshold on, small first below it; the other tier is the fallback."""
        parts = self.explain(request)
        score = round(min(1.0, max(0.0, sum(part.points for part in parts))), 4)
        large = score >= self._threshold
        return Route(
            ranking=("large", "small") if large else ("small", "large"),
            policy="threshold",
            reason=f"score {score:.2f} {'>=' if large else '<'} {self._threshold:.2f}{_named(parts)}",
            score=score,
            threshold=self._threshold,
        )

    def explain(self, request: GenerationRequest, /) -> tuple[Contribution, ...]:
        """Every feature with its points, also those that add nothing."""
        features = measure(request)
        return tuple(
            Contribution(name, features[name].value, weight, features[name].value * weight + 0.0, features[name].seen)
            for name, weight in self._weights.items()
        )


def _named(parts: tuple[Contribution, ...]) -> str:
    strongest = sorted((part for part in parts if abs(part.points) >= 0.05), key=lambda part: -abs(part.points))
    return "".join(f"{', ' if index else ': '}{part.feature}" for index, part in enumerate(strongest[:3]))


Settings = ThresholdSettings


def build(settings: ThresholdSettings) -> ThresholdPolicy:
    """The policy of these settings."""
    return ThresholdPolicy(settings)

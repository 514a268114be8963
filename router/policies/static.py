"""Policy `static`: every `auto` request goes to one tier. Looks at nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.config import PluginSettings
from models.types import TIERS, GenerationRequest, Route, Tier
from router.types import Contribution, Reading


class StaticSettings(PluginSettings):
    """One tier for everything; the other one is its fallback."""

    kind: Literal["static"] = Field("static", description="Always the same tier.")
    tier: Tier = Field("large", description="The tier that serves `auto`; the other one stands in when it is down.")


class StaticPolicy:
    """Answers the same every time."""

    def __init__(self, settings: StaticSettings) -> None:
        ranking = (settings.tier, *(tier for tier in TIERS if tier != settings.tier))
        self._route = Route(ranking=ranking, policy="static", reason=f"static policy: always {settings.tier}")

    def choose(self, _request: GenerationRequest, _reading: Reading | None = None, /) -> Route:
        """The configured tier first."""
        return self._route

    def explain(self, _request: GenerationRequest, /) -> tuple[Contribution, ...]:
        """Nothing is looked at, so nothing contributes."""
        return ()


Settings = StaticSettings


def build(settings: StaticSettings) -> StaticPolicy:
    """The policy of these settings."""
    return StaticPolicy(settings)

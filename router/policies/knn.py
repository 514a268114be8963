"""Policy `knn`: as `learned`, but the gain is that of the nearest labelled prompts: weaker, and every score can be
looked up.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.config import PluginSettings
from router.policies.learned import ClassifierSettings, LearnedPolicy


class NearestSettings(PluginSettings):
    """Where the labelled prompts are searched."""

    kind: Literal["knn"] = Field("knn", description="The nearest labelled prompts against a threshold.")
    classifier: ClassifierSettings = Field(
        default_factory=ClassifierSettings, description="The deployment that reads prompts."
    )


Settings = NearestSettings


def build(settings: NearestSettings) -> LearnedPolicy:
    """The policy of these settings."""
    return LearnedPolicy(settings.kind)

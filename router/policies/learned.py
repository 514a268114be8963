"""Policy `learned`: a trained model foretells what a large answer would add; from a threshold on, the large tier
answers.

The model runs in the classifier deployment, which reads the prompt; here its reading is compared, and nothing else.
Owns the settings of that deployment, because a stack has one only where a policy needs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from models.config import Frozen, PluginSettings
from models.embedders import EmbedderSettings
from models.embedders.sentence import SentenceSettings
from models.types import GenerationRequest, Route
from router.types import Contribution, Reading


class ClassifierSettings(Frozen):
    """The deployment that embeds and scores prompts."""

    name: str = Field(
        "default", pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", description="Name of the router in the artifact store."
    )
    model: Path | None = Field(
        None, description="Folder of a trained model that is published and promoted where nothing is promoted yet."
    )
    large_share: float = Field(
        0.35, ge=0, le=1, description="Share of large calls that gives `model` its threshold, unless it is calibrated."
    )
    deadline_s: float = Field(
        0.25, gt=0, le=10, description="Longest wait for a reading; then the default tier serves."
    )
    embedder: EmbedderSettings = Field(
        default_factory=lambda: SentenceSettings(kind="sentence", threads=1),
        description="The embedder; a router works with the one that it was trained with only.",
    )
    replicas: int = Field(1, ge=1, description="Classifier processes.")
    gpu_share: float = Field(0.0, ge=0, le=1, description="Part of a GPU that each of them reserves.")
    batch: int = Field(16, ge=1, description="Most prompts that are embedded together.")
    queue: int = Field(256, ge=1, description="Most prompts that wait in one process; more are not read.")


class LearnedSettings(PluginSettings):
    """Where the model runs."""

    kind: Literal["learned"] = Field("learned", description="A trained model against a threshold.")
    classifier: ClassifierSettings = Field(
        default_factory=ClassifierSettings, description="The deployment that reads prompts."
    )


class LearnedPolicy:
    """Compares the gain with the threshold that is live."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def choose(self, _request: GenerationRequest, reading: Reading | None = None, /) -> Route:
        """Large first from the threshold on, small first below it; the other tier is the fallback."""
        if reading is None:
            raise ValueError("no reading of the prompt")
        large = reading.gain >= reading.threshold
        return Route(
            ranking=("large", "small") if large else ("small", "large"),
            policy=self._kind,
            reason=f"gain {reading.gain:.4f} {'>=' if large else '<'} {reading.threshold:.4f}",
            score=reading.gain,
            threshold=reading.threshold,
            version=reading.version,
        )

    def explain(self, _request: GenerationRequest, /) -> tuple[Contribution, ...]:
        """A forest's score has no features that could be added up; the reading itself explains it."""
        return ()


Settings = LearnedSettings


def build(settings: LearnedSettings) -> LearnedPolicy:
    """The policy of these settings."""
    return LearnedPolicy(settings.kind)

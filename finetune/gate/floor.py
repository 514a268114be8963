"""How lax a job's own gate may be at most: the operator's word, against which the job's thresholds are held. Pure."""

from __future__ import annotations

from pydantic import Field

from finetune.gate.rule import GateRule
from models.config import Frozen

AT_LEAST = ("confidence", "control_confidence", "ceiling", "regression_required", "max_examples")
AT_MOST = ("margin", "resolution", "live_resolution")


class GateFloor(Frozen):
    """The laxest thresholds that a job may have; unset ones are the job's own affair."""

    confidence: float | None = Field(None, gt=0.5, lt=1, description="Least `confidence` of a job's gate.")
    control_confidence: float | None = Field(None, gt=0.5, lt=1, description="Least `control_confidence`.")
    ceiling: float | None = Field(None, gt=0, le=1, description="Least `ceiling`.")
    margin: float | None = Field(None, ge=0, lt=1, description="Largest `margin`.")
    resolution: float | None = Field(None, gt=0, le=1, description="Largest `resolution`.")
    live_resolution: float | None = Field(None, gt=0, le=1, description="Largest `live_resolution`.")
    regression_required: bool | None = Field(
        None, description="`true`: without a regression set no version of any job passes."
    )
    max_examples: int | None = Field(None, ge=10, le=10_000, description="Least `max_examples`.")
    judge: str | None = Field(
        None, min_length=1, max_length=256, description="The model that grades where the metric is judge, in every job."
    )

    def under(self, rule: GateRule) -> GateRule:
        """The stricter one of both, threshold by threshold, and the operator's judge where there is one."""
        least = {
            name: max(getattr(rule, name), bound) for name in AT_LEAST if (bound := getattr(self, name)) is not None
        }
        most = {name: min(getattr(rule, name), bound) for name in AT_MOST if (bound := getattr(self, name)) is not None}
        return rule.model_copy(update={**least, **most, "judge": self.judge or rule.judge})

"""Workload `gamma`: gaps from a gamma distribution, for traffic in bursts (shape < 1) or nearly even (shape > 1)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from benchmarks.workloads.arrival import Arrival, WorkloadSettings


class Settings(WorkloadSettings):
    """An open loop with a mean gap of 1/rate; the coefficient of variation of the gaps is 1/√shape."""

    kind: Literal["gamma"] = Field("gamma", description="Open loop in bursts.")
    rate: float = Field(gt=0, le=10_000, description="Requests per second.")
    shape: float = Field(0.25, gt=0, le=100, description="1 is Poisson; below it requests come in bursts.")


def arrivals(settings: Settings, chance: random.Random) -> Iterator[Arrival]:
    """One after the other, without end."""
    at_s = 0.0
    while True:
        at_s += chance.gammavariate(settings.shape, 1 / (settings.rate * settings.shape))
        yield Arrival(at_s)

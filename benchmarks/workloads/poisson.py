"""Workload `poisson`: requests come independently of each other and of the answers, as from many users."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from benchmarks.workloads.arrival import Arrival, WorkloadSettings


class Settings(WorkloadSettings):
    """An open loop: the server does not slow the clients down, so its queue shows."""

    kind: Literal["poisson"] = Field("poisson", description="Open loop, exponential gaps.")
    rate: float = Field(gt=0, le=10_000, description="Requests per second.")


def arrivals(settings: Settings, chance: random.Random) -> Iterator[Arrival]:
    """One after the other, without end."""
    at_s = 0.0
    while True:
        at_s += chance.expovariate(settings.rate)
        yield Arrival(at_s)

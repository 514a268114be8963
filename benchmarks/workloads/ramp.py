"""Workload `ramp`: a Poisson process whose rate changes in a straight line, to see where a server gives in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from benchmarks.workloads.arrival import Arrival, WorkloadSettings


class Settings(WorkloadSettings):
    """From one rate to another; it stays at the last one."""

    kind: Literal["ramp"] = Field("ramp", description="Open loop with a changing rate.")
    rate_from: float = Field(gt=0, le=10_000, description="Requests per second at the start.")
    rate_to: float = Field(gt=0, le=10_000, description="Requests per second at the end.")
    over_s: float = Field(gt=0, description="Seconds from the first rate to the last.")


def arrivals(settings: Settings, chance: random.Random) -> Iterator[Arrival]:
    """By thinning (Lewis and Shedler 1979): drawn at the higher rate, kept with the share of the rate at that time."""
    top = max(settings.rate_from, settings.rate_to)
    at_s = 0.0
    while True:
        at_s += chance.expovariate(top)
        done = min(1.0, at_s / settings.over_s)
        rate = settings.rate_from + done * (settings.rate_to - settings.rate_from)
        if chance.random() * top <= rate:
            yield Arrival(at_s)

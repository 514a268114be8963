"""Workload `closed`: so many clients, each sending its next request when the last answer is there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import repeat
from typing import Literal

from pydantic import Field

from benchmarks.workloads.arrival import Arrival, WorkloadSettings


class Settings(WorkloadSettings):
    """A closed loop: the server sets the pace, so a slow one is never overrun."""

    kind: Literal["closed"] = Field("closed", description="Clients that wait for their answer.")
    clients: int = Field(ge=1, le=4096, description="Requests in flight.")

    @property
    def at_once(self) -> int | None:
        """One request per client."""
        return self.clients


def arrivals(settings: Settings, chance: random.Random) -> Iterator[Arrival]:  # noqa: ARG001 - of the family
    """Every request is due at once: the clients hold them back."""
    return repeat(Arrival(0.0))

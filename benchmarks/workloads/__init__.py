"""The family of workloads: when requests are sent. The contract, the table of kinds, and how settings become arrivals.

A new workload is one file here (`Settings` with its own `kind`, `arrivals(settings, chance)`) and one row in
`WORKLOADS`. Knows no prompt and no server.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Annotated, cast

from pydantic import BeforeValidator, SerializeAsAny

from benchmarks.workloads.arrival import Arrival, WorkloadSettings
from models.plugins import Registry

__all__ = ["WORKLOADS", "AnyWorkload", "Arrival", "WorkloadSettings", "arrivals"]

WORKLOADS = Registry(
    "workload",
    {
        "closed": "benchmarks.workloads.closed",
        "poisson": "benchmarks.workloads.poisson",
        "gamma": "benchmarks.workloads.gamma",
        "ramp": "benchmarks.workloads.ramp",
        "replay": "benchmarks.workloads.replay",
    },
)

AnyWorkload = Annotated[SerializeAsAny[WorkloadSettings], BeforeValidator(WORKLOADS.read)]


def arrivals(settings: WorkloadSettings, chance: random.Random) -> Iterator[Arrival]:
    """The requests of this workload in the order of their times; the same for the same seed. May never end."""
    return cast(Iterator[Arrival], WORKLOADS.module(settings.kind).arrivals(settings, chance))

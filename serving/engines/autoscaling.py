"""How many engine replicas: from the load that the replicas report, since Serve itself sees no request of theirs."""

from __future__ import annotations

import math
from typing import Any

LOAD = "load"


def by_load(context: Any) -> tuple[int, dict[str, Any]]:
    """Serve's custom-policy signature: an `AutoscalingContext` in, (replicas, policy state) out.

    Wanted = requests running and waiting on all replicas ÷ `target_ongoing_requests`, within the bounds.
    """
    reported = (context.aggregated_metrics or {}).get(LOAD, {})
    load = sum(reported.values())
    wanted = math.ceil(load / context.config.target_ongoing_requests)
    lowest, highest = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
    return max(lowest, min(wanted, highest)), {}

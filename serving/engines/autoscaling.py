"""How many engine replicas: from the load that the replicas report, since Serve itself sees no request of theirs."""

from __future__ import annotations

import math
from typing import Any

LOAD = "load"


def autoscaling_options(lowest: int, highest: int, *, target_ongoing: int) -> dict[str, Any]:
    """Serve's `autoscaling_config` for a deployment that scales by `by_load`."""
    return {
        "min_replicas": lowest,
        "max_replicas": highest,
        "target_ongoing_requests": target_ongoing,
        "policy": {"policy_function": f"{__name__}:{by_load.__name__}"},
    }


def by_load(context: Any) -> tuple[int, dict[str, Any]]:
    """Serve's custom-policy signature: an `AutoscalingContext` in, (replicas, policy state) out.

    Wanted = requests running and waiting on all replicas ÷ `target_ongoing_requests`, within the bounds. No report is
    not no load: the number stays. Never zero: the request that should wake the first replica would reach nobody.
    """
    reported = (context.aggregated_metrics or {}).get(LOAD, {})
    wanted = context.target_num_replicas
    if reported:
        wanted = math.ceil(sum(reported.values()) / context.config.target_ongoing_requests)
    lowest, highest = max(1, context.capacity_adjusted_min_replicas), context.capacity_adjusted_max_replicas
    return max(lowest, min(wanted, highest)), {}

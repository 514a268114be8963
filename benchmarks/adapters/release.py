"""What a release takes over the engine's own load: new versions of one adapter, pushed and promoted one after another.

Each replica tells how long its engine took to read a version (`loaded_ms`) and to answer with it once (`warmed_ms`);
the gateway adds how long it waited for the replica's word (`told_ms`). Owns the measure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.adapters.registry import Registry
from benchmarks.adapters.weights import adapter_zip
from benchmarks.estimates import estimate
from benchmarks.result import markdown_table
from models.catalog.schema import ModelCard
from models.errors import ConfigurationError, Unavailable

GOAL_MS = 5.0
NAME = "release-bench"
ROWS = {
    "engine_ms": "the engine's own load and first answer",
    "own_ms": "the release over it, until every replica has told",
    "fetched_ms": "of that the files, from the store to the node",
    "rest_ms": "of that HTTP, the replica's queue, and the event loops",
    "after_ms": "the flip, and every gateway's word that it works by it",
    "wall_ms": "the whole call `promote`",
}


@dataclass(frozen=True, slots=True)
class ReleaseOrder:
    """What was asked for."""

    card: ModelCard
    releases: int
    rank: int
    seed: int


async def measure(order: ReleaseOrder, registry: Registry, *, heard: Callable[[], None]) -> dict[str, Any]:
    """Release so many versions, then take the adapter away. The first one counts in nothing: its paths are cold."""
    contents = (adapter_zip(order.card, rank=order.rank, seed=order.seed + at) for at in range(order.releases + 1))
    versions = [await registry.push(NAME, content, base=order.card.id) for content in contents]
    rows: list[dict[str, float]] = []
    replicas = 0
    try:
        for version in versions:
            began = time.perf_counter()
            released = await registry.promote(NAME, version)
            wall_ms = 1000 * (time.perf_counter() - began)
            if released["waiting"]:
                raise Unavailable(f"Gateway {released['waiting'][0]} did not confirm a release. Measure again.")
            replicas = len(released["replicas"])
            rows.append(parts(released["replicas"], wall_ms=wall_ms))
            heard()
    finally:
        await registry.retire(NAME)
    kept = {name: [row[name] for row in rows[1:]] for name in ROWS}
    return {
        "goal_ms": GOAL_MS,
        "replicas": replicas,
        "releases": order.releases,
        "parts": {name: asdict(estimate(values, seed=order.seed)) for name, values in kept.items()},
        "each": rows,
    }


def parts(loads: Sequence[Mapping[str, Any]], *, wall_ms: float) -> dict[str, float]:
    """Of one release, in ms; of several replicas the one that took longest over its own engine."""
    if not loads or any("told_ms" not in load for load in loads):
        raise ConfigurationError("This stack does not tell how long its replicas took (`told_ms`). It is an older one.")
    engines = [load["loaded_ms"] + load["warmed_ms"] for load in loads]
    slowest = max(range(len(loads)), key=lambda at: loads[at]["told_ms"] - engines[at])
    load, engine = loads[slowest], engines[slowest]
    own = load["told_ms"] - engine
    return {
        "engine_ms": engine,
        "own_ms": own,
        "fetched_ms": load["fetched_ms"],
        "rest_ms": own - load["fetched_ms"],
        "after_ms": wall_ms - max(each["told_ms"] for each in loads),
        "wall_ms": wall_ms,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """The table, and whether the goal is met."""
    cells = [[what, _cell(found["parts"][name])] for name, what in ROWS.items()]
    own = found["parts"]["own_ms"]["median"]
    goal = f"Goal: ≤ {GOAL_MS:g} ms over the engine's own load. {'Met' if own <= GOAL_MS else 'Missed'}: {own:.1f} ms."
    said = (
        f"{found['releases']} releases to {found['replicas']} replicas at once, ms, p50 (95 % interval); of each"
        " release the replica that took longest over its own engine:"
    )
    return "\n\n".join([said, markdown_table(("part", "ms"), cells), goal]) + "\n"


def _cell(value: Mapping[str, Any]) -> str:
    return f"{value['median']:.1f} ({value['low']:.1f} … {value['high']:.1f})"

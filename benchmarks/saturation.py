"""How much each arm can take, and the rate at half of it: where a server is neither idle nor overrun."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.arms.catalog import NULL
from benchmarks.comparison import Comparison
from benchmarks.measuring import Sender
from benchmarks.schedule import Block, Point

LADDER = (8, 16, 32, 64, 128, 256, 512)
GAIN = 1.05
SEEDS = 5_000


def saturated(comparison: Comparison, sender: Sender, *, seed: int) -> dict[Point, Sequence[str]]:
    """For each arm but the reference: half of its highest rate → that arm and the reference."""
    found: dict[Point, Sequence[str]] = {}
    for arm in comparison.up:
        if arm not in (comparison.reference, NULL):
            rate = round(highest(comparison, sender, arm=arm, seed=seed) / 2, 1)
            found[Point(rate=rate)] = (comparison.reference, arm)
    return found


def highest(comparison: Comparison, sender: Sender, *, arm: str, seed: int) -> float:
    """Requests per second that an arm completes with ever more clients, until more of them bring no more."""
    best = 0.0
    for place, clients in enumerate(LADDER):
        one = comparison.once(Block(0, Point(clients=clients), arm, seed + SEEDS + place), sender)
        if one.metrics.requests_per_s < GAIN * best:
            break
        best = max(best, one.metrics.requests_per_s)
    return best

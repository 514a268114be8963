"""The two tiers: their shapes and the one recipe they share. Numbers only, no torch."""

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True, slots=True)
class Tier:
    """The capacity of one model: all that differs between the two."""

    name: str
    layers: int
    hidden: int
    feed_forward: int
    heads: int


@dataclass(frozen=True)
class Recipe:
    """How both tiers are trained: same data, same order, same steps, same rates."""

    steps: int = 2_600
    batch_tokens: int = 6_144
    drill_share: float = 0.35
    warm_up: int = 100
    decay_share: float = 0.7
    matrix_rate: float = 0.004
    other_rate: float = 0.003
    seed: int = 20_261_123
    checkpoint_every: int = 250


TIERS = {
    tier.name: tier
    for tier in (
        Tier("small", layers=1, hidden=128, feed_forward=256, heads=4),
        Tier("large", layers=3, hidden=256, feed_forward=512, heads=8),
    )
}

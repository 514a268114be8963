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
    """How both tiers are trained: same data, same order, same steps, same rates.

    The last `finish` steps tell sums in their full form, with the number that does not count anywhere; the ones before
    keep it behind the others, or adding is not learned for a long time. The rate falls to zero at the end of the plain
    part, and again after every `cycle` steps.
    """

    steps: int = 5_400
    finish: int = 2_800
    cycle: int = 700
    batch_tokens: int = 6_144
    drill_share: float = 0.35
    warm_up: int = 100
    decay_share: float = 0.7
    finish_rate: float = 0.4
    matrix_rate: float = 0.004
    other_rate: float = 0.003
    seed: int = 20_261_123
    checkpoint_every: int = 250

    @property
    def plain_steps(self) -> int:
        """Where the last part begins."""
        return max(0, self.steps - self.finish)


TIERS = {
    tier.name: tier
    for tier in (
        Tier("small", layers=1, hidden=96, feed_forward=16, heads=3),
        Tier("large", layers=3, hidden=256, feed_forward=512, heads=8),
    )
}

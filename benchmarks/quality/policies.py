"""What a way to route comes to on prompts that both tiers have answered: right answers, cost, share, with intervals.

Pure: arrays in, numbers out. `n` prompts; a choice is the probability `[n]`, 0…1, that a prompt goes to the large tier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.evaluate import Estimated
from router.resampling import bootstrap

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Answers to `n` prompts: how right (0…1), their cost (micro-USD), and whether the large tier gave them (0…1)."""

    right: Doubles
    cost: Doubles
    large: Doubles

    def __len__(self) -> int:
        return len(self.right)

    def take(self, rows: NDArray[np.bool_]) -> Taken:
        """The answers where `rows[n]` is true."""
        return Taken(self.right[rows], self.cost[rows], self.large[rows])


NOTHING = Taken(np.zeros(0), np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True)
class Row:
    """One way to route. `right` counts answers; `of_large` and `cost` are held against always-large's (1: as much)."""

    name: str
    right: float
    right_share: Estimated
    of_large: Estimated
    share: Estimated
    cost: Estimated


def row(name: str, found: Taken, *, large: Taken, seed: int) -> Row:
    """The figures of a way to route beside always-large's on the same prompts, resampled together."""

    def estimated(statistic: Callable[[NDArray[np.int64]], float]) -> Estimated:
        interval = bootstrap(len(found), statistic, seed=seed)
        return Estimated(statistic(np.arange(len(found))), interval.low, interval.high)

    return Row(
        name=name,
        right=float(found.right.sum()),
        right_share=estimated(lambda rows: float(found.right[rows].mean())),
        of_large=estimated(lambda rows: _ratio(found.right[rows].sum(), large.right[rows].sum())),
        share=estimated(lambda rows: float(found.large[rows].mean())),
        cost=estimated(lambda rows: _ratio(found.cost[rows].sum(), large.cost[rows].sum())),
    )


def mixed(choice: Doubles, *, small: Taken, large: Taken) -> Taken:
    """What a choice comes to, in expectation, from the answers that both tiers gave."""
    return Taken(
        right=choice * large.right + (1 - choice) * small.right,
        cost=choice * large.cost + (1 - choice) * small.cost,
        large=np.asarray(choice, np.float64),
    )


def oracle(small: Taken, large: Taken) -> Doubles:
    """The choice of one who has seen both answers: large where only that is better. No router can."""
    return np.asarray(large.right > small.right, np.float64)


def at_share(scores: Doubles, share: float) -> Doubles:
    """The choice that sends the highest scores to the large tier, up to a share 0…1; those that tie share the rest."""
    left = share * len(scores)
    choice = np.zeros(len(scores))
    for score in np.unique(scores)[::-1]:
        tied = scores == score
        choice[tied] = min(1.0, left / tied.sum())
        left -= choice[tied].sum()
        if left <= 0:
            break
    return choice


def _ratio(one: float, other: float) -> float:
    """Raises `ValueError` where there is nothing to hold it against: the bootstrap leaves that resample out."""
    if other <= 0:
        raise ValueError("always-large has no right answer, or costs nothing")
    return float(one / other)

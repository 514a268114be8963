"""The highest rate of requests at which a server still meets an objective: found by trials, not guessed.

Owns the search: doubling until a rate fails, then halving the bracket (by its ratio) until it is narrow. One trial is
no verdict: a rate has failed when two trials of it did, and the one that is reported has met the objective in two.
Sends nothing itself: a trial is whatever it is given.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MOST_TRIALS = 60
VERDICT = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial showed. `share`: good requests of those that were due; `why`: the reason to end it early.

    `lag_ms`: how late the client itself sent (p99).
    """

    rate: float
    good: int
    due: int
    share: float
    met: bool
    why: str | None = None
    lag_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Knee:
    """`rate` met the objective twice; `fails_at` is the lowest rate that failed twice. None where there is none.

    In requests per second. `ended`: the search came to its end.
    """

    rate: float | None
    fails_at: float | None
    ended: bool
    trials: tuple[Trial, ...]


class Search:
    """One search. Iterate over `steps` to see each trial as it ends; `knee` at any time."""

    def __init__(
        self,
        attempt: Callable[[float], Trial],
        *,
        start: float,
        between: tuple[float, float],
        precision: float,
    ) -> None:
        """`between`: lowest and highest rate to try. `precision`: the bracket's width at the end (0.05: 5 %)."""
        self._attempt = attempt
        self._start = start
        self._least, self._most = between
        self._precision = precision
        self._met: Counter[float] = Counter()
        self._failed: Counter[float] = Counter()
        self._trials: list[Trial] = []

    @property
    def knee(self) -> Knee:
        """What is known now."""
        sure = [rate for rate, count in self._met.items() if count >= VERDICT and rate < self._ceiling]
        fails_at = self._ceiling if self._ceiling < math.inf else None
        return Knee(max(sure, default=None), fails_at, self._next() is None, tuple(self._trials))

    def steps(self) -> Iterator[Trial]:
        """Every trial until the knee is known."""
        while len(self._trials) < MOST_TRIALS and (rate := self._next()) is not None:
            trial = self._attempt(rate)
            self._trials.append(trial)
            (self._met if trial.met else self._failed)[rate] += 1
            yield trial

    @property
    def _ceiling(self) -> float:
        return min((rate for rate, count in self._failed.items() if count >= VERDICT), default=math.inf)

    def _next(self) -> float | None:
        """The rate to try next; None at the end."""
        ceiling = self._ceiling
        for rate in self._failed:
            if rate < ceiling and self._met[rate] < VERDICT:
                return rate  # one failure is in doubt
        best = max((rate for rate, count in self._met.items() if count and rate < ceiling), default=None)
        if best is None:
            lower = min(self._start, ceiling / 2)
            return lower if lower >= self._least else None
        if ceiling == math.inf and best < self._most:
            return min(self._most, 2 * best)
        if ceiling < math.inf and ceiling / best > 1 + self._precision:
            return math.sqrt(ceiling * best)
        return best if self._met[best] < VERDICT else None

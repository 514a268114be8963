"""The highest rate of requests at which a server still meets an objective: found by trials, not guessed.

Owns the search: doubling until a trial fails, halving the bracket (by its ratio) until it is narrow, and a second trial
with other texts at the rate that is reported. Sends nothing itself: a trial is whatever `Trial` it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MOST_TRIALS = 40


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial showed. `share`: good requests of those that were due; `why`: the reason to end it early."""

    rate: float
    good: int
    due: int
    share: float
    met: bool
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Knee:
    """`rate` met the objective twice; `fails_at` is the next rate that did not. None where there was none.

    In requests per second. `rate` None: not even the lowest one that was tried meets it.
    """

    rate: float | None
    fails_at: float | None
    trials: tuple[Trial, ...]


class Search:
    """One search. Iterate over `steps` to see each trial as it ends; `knee` afterwards."""

    def __init__(
        self, attempt: Callable[[float], Trial], *, start: float, between: tuple[float, float], precision: float
    ) -> None:
        """`between`: lowest and highest rate to try. `precision`: the bracket's width at the end (0.05: 5 %)."""
        self._attempt = attempt
        self._start = start
        self._least, self._most = between
        self._precision = precision
        self._met: float | None = None
        self._failed: float | None = None
        self._confirmed: float | None = None
        self._trials: list[Trial] = []

    @property
    def knee(self) -> Knee:
        """What is known now."""
        return Knee(self._confirmed, self._failed, tuple(self._trials))

    def steps(self) -> Iterator[Trial]:
        """Every trial until the knee is known."""
        while len(self._trials) < MOST_TRIALS and (rate := self._next()) is not None:
            trial = self._attempt(rate)
            self._trials.append(trial)
            self._learn(trial)
            yield trial

    def _next(self) -> float | None:
        """The rate to try next; None at the end."""
        if self._met is None:
            rate = self._start if self._failed is None else self._failed / 2
            return rate if rate >= self._least else None
        if self._failed is None and self._met < self._most:
            return min(self._most, 2 * self._met)
        if self._failed is not None and self._failed / self._met > 1 + self._precision:
            return math.sqrt(self._failed * self._met)
        return self._met if self._confirmed != self._met else None

    def _learn(self, trial: Trial) -> None:
        if not trial.met:
            self._failed = trial.rate
            if self._met is not None and trial.rate <= self._met:  # it had met it by luck: look below
                self._met = self._best_below(trial.rate)
        elif trial.rate == self._met:
            self._confirmed = trial.rate
        else:
            self._met = trial.rate

    def _best_below(self, rate: float) -> float | None:
        met = [one.rate for one in self._trials if one.met and one.rate < rate]
        return max(met, default=None)

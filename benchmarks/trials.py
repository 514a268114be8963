"""One trial of a search: Poisson traffic at a rate, judged request by request, given up as soon as it cannot pass.

The number of requests that fall due is known from the seed before the first one is sent. A miss is a request that has
failed, was too slow, or waits longer than its limit for the first token; once there are more than the objective
allows, the rest changes nothing: the trial ends, and what is in flight is dropped.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from benchmarks.calls import Address, Call
from benchmarks.metrics import good, spread
from benchmarks.own_loop import in_own_loop
from benchmarks.runner import Runner
from benchmarks.slo_search import Trial
from benchmarks.suite import Load, Slo
from benchmarks.workloads import arrivals
from benchmarks.workloads.poisson import Settings as Poisson

LEAST_REQUESTS = 50
LONGEST_S = 300.0
LOOK_S = 0.05
SLACK_MS = 50.0  # our clock began a moment before the run's
PAUSE_S = 1.0  # for what was dropped to leave the server
SATURATED = "saturated"


class TrialFailed(Exception):
    """A trial that says nothing about the rate: the server has gone, the traffic came to an end."""


@dataclass(slots=True)
class Trials:
    """Runs trials against one server. Each has texts and times of its own: the seed and its number."""

    address: Address
    load: Load
    slo: Slo
    goodput: float
    trial_s: float
    seed: int
    calls: list[tuple[float, list[Call]]] = field(default_factory=list)

    def __call__(self, rate: float) -> Trial:
        """One trial at so many requests per second; raises `TrialFailed`."""
        seed = self.seed + 1000 * (len(self.calls) + 1)
        workload = Poisson(rate=rate)
        duration_s = max(self.trial_s, min(LONGEST_S, LEAST_REQUESTS / rate))
        due = sum(1 for _ in takewhile(lambda one: one.at_s < duration_s, arrivals(workload, random.Random(seed))))
        limits = {"duration_s": duration_s, "requests": None, "warm_up_s": 0.0}
        load = self.load.model_copy(update={"workload": workload, **limits})
        watch = Watch(self.slo, allowed=due - math.ceil(self.goodput * due - 1e-9))
        runner = Runner(self.address, load, seed=seed, heard=watch.heard)
        self.calls.append((rate, runner.run.calls))
        in_own_loop(watch.over(runner))
        stopped = runner.run.stopped
        if stopped not in (None, SATURATED):
            raise TrialFailed(stopped)
        if stopped is not None:
            time.sleep(PAUSE_S)
        met = sum(good(call, self.slo) for call in runner.run.calls if call.ended_s)
        share = met / due if due else 0.0
        lag_ms = late_ms(runner.run.calls)
        return Trial(rate, met, due, share, met=stopped is None and share >= self.goodput, why=stopped, lag_ms=lag_ms)


def late_ms(calls: Sequence[Call]) -> float:
    """How late requests were sent (p99)."""
    found = spread([1000 * (call.sent_s - call.due_s) for call in calls if call.due_s is not None and call.sent_s])
    return 0.0 if found is None else found.p99


class Watch:
    """Counts misses while a trial runs, and gives it up when there are more than `allowed`."""

    def __init__(self, slo: Slo, *, allowed: int) -> None:
        self._slo = slo
        self._allowed = allowed
        self._missed = 0
        self._first = 0

    def heard(self, call: Call) -> None:
        """A request has ended."""
        self._missed += not good(call, self._slo)

    async def over(self, runner: Runner) -> None:
        """Return when the run has ended, by itself or given up."""
        going = asyncio.create_task(runner.go())
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            while not (await asyncio.wait([going], timeout=LOOK_S))[0]:
                missed = self._missed + self._too_late(runner.run.calls, clock() - began)
                if missed > self._allowed and not runner.unanswered:  # one that is gone says so itself, in a moment
                    runner.halt(SATURATED)
            await going
        except asyncio.CancelledError:
            going.cancel()
            await asyncio.wait([going])
            raise

    def _too_late(self, calls: Sequence[Call], now: float) -> int:
        """Requests under way whose first token cannot be in time any more."""
        limit = self._slo.ttft_ms or self._slo.e2e_ms
        if limit is None:
            return 0
        while self._first < len(calls) and calls[self._first].ended_s:
            self._first += 1
        waiting = (call for call in calls[self._first :] if not call.ended_s and not call.chunks_s)
        return sum(1000 * (now - (call.due_s or 0.0)) > limit + SLACK_MS for call in waiting)

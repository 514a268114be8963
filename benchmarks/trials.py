"""One trial of a search: Poisson traffic at a rate, judged request by request, given up as soon as it cannot pass.

The number of requests that fall due is known from the seed before the first one is sent. A miss is a request that has
failed, was too slow, or waits longer than its limit for the first token; once there are more than the objective
allows, the rest changes nothing: the trial ends, and what is in flight is dropped.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile

import uvloop

from benchmarks.calls import Address, Call
from benchmarks.metrics import good
from benchmarks.runner import Runner
from benchmarks.slo_search import Trial
from benchmarks.suite import Load, Slo
from benchmarks.workloads import arrivals
from benchmarks.workloads.poisson import Settings as Poisson

LEAST_REQUESTS = 50
LONGEST_S = 300.0
LOOK_S = 0.05
SLACK_MS = 50.0  # our clock began a moment before the run's
SATURATED = "saturated"


@dataclass(slots=True)
class Trials:
    """Runs trials against one server. Each has texts and times of its own: the seed and its number."""

    address: Address
    load: Load
    slo: Slo
    goodput: float
    trial_s: float
    seed: int
    heard: Callable[[Call], None] = lambda _: None
    calls: list[tuple[float, list[Call]]] = field(default_factory=list)

    def __call__(self, rate: float) -> Trial:
        """One trial at so many requests per second."""
        seed = self.seed + 1000 * (len(self.calls) + 1)
        workload = Poisson(rate=rate)
        duration_s = min(LONGEST_S, max(self.trial_s, LEAST_REQUESTS / rate))
        due = sum(1 for _ in takewhile(lambda one: one.at_s < duration_s, arrivals(workload, random.Random(seed))))
        limits = {"duration_s": duration_s, "requests": None, "warm_up_s": 0.0}
        load = self.load.model_copy(update={"workload": workload, **limits})
        runner = Runner(self.address, load, seed=seed, heard=self.heard)
        self.calls.append((rate, runner.run.calls))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            loop.run(self._watched(runner, allowed=int((1 - self.goodput) * due)))
        met = sum(good(call, self.slo) for call in runner.run.calls)
        share = met / due if due else 0.0
        return Trial(rate, met, due, share, met=share >= self.goodput, why=runner.run.stopped)

    async def _watched(self, runner: Runner, *, allowed: int) -> None:
        going = asyncio.create_task(runner.go())
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            while not (await asyncio.wait([going], timeout=LOOK_S))[0]:
                now = clock() - began
                if sum(self._missed(call, now) for call in runner.run.calls) > allowed:
                    runner.halt(SATURATED)
            await going
        except asyncio.CancelledError:
            going.cancel()
            await asyncio.wait([going])
            raise

    def _missed(self, call: Call, now: float) -> bool:
        if call.ended_s:
            return not good(call, self.slo)
        waits_ms = 0.0 if call.chunks_s else 1000 * (now - call.sent_s)
        limit = self.slo.ttft_ms or self.slo.e2e_ms
        return limit is not None and waits_ms > limit + SLACK_MS

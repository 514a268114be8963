"""`penstock bench run`: one suite against one server, from the first probe to the written result.

Owns the story of a run. The command line around it is `serving/commands/bench.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.calls import Address, Call
from benchmarks.metrics import Metrics, measure
from benchmarks.origin import origin
from benchmarks.own_loop import in_own_loop
from benchmarks.prompts import Order
from benchmarks.reach import reach, require_answer
from benchmarks.result import markdown, prepare, write
from benchmarks.runner import Runner
from benchmarks.suite import Load, Suite
from benchmarks.workloads import Arrival


@dataclass(frozen=True, slots=True)
class BenchOrder:
    """What was asked for. `size` names one of the suite's; `model` is None for the first that the target lists.

    `seed`: of every text and time. Another one in every run, or the second would be answered from a prefix cache.
    """

    name: str
    suite: Suite
    size: str
    url: str
    seed: int
    key: str | None = None
    model: str | None = None
    out: Path | None = None

    @property
    def load(self) -> Load:
        """What is sent."""
        return self.suite.size(self.size)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run and its figures. `stopped` is the reason when it was cut short."""

    address: Address
    metrics: Metrics
    stopped: str | None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"model": self.address.model, "stopped": self.stopped, **self.metrics.as_json()}


def probed(order: BenchOrder) -> Address:
    """The target, once it has answered the suite's first question; raises the sentence that says why it did not."""
    if order.out is not None:
        prepare(order.out)
    address = reach(order.url, key=order.key, model=order.model, api=order.suite.api, many=order.load.models)
    first = Runner(address, order.load, seed=order.seed, heard=lambda _: None)
    require_answer(address, first.body(Order(order.seed, number=-1), Arrival(0.0)))
    return address


def config(order: BenchOrder, address: Address) -> dict[str, Any]:
    """What was run, for the origin."""
    return {
        "suite": order.name,
        "size": order.size,
        "api": order.suite.api,
        "slos": [slo.model_dump(mode="json") for slo in order.suite.slos],
        "load": order.load.model_dump(mode="json"),
        "target": address.url,
        "model": address.model,
        "models": list(address.models) or None,
    }


def bench(order: BenchOrder, *, heard: Callable[[Call], None]) -> Outcome:
    """Probe, run, count, write. Ctrl-C ends the sending; what was seen until then is counted, written and marked."""
    address = probed(order)
    runner = Runner(address, order.load, seed=order.seed, heard=heard)
    started = time.time()
    try:
        in_own_loop(runner.go())
    except KeyboardInterrupt:
        runner.run.stopped = "interrupted"
    outcome = Outcome(address, measure(runner.run, order.load, slos=order.suite.slos), runner.run.stopped)
    if order.out is not None:
        _write(order, outcome, calls=runner.run.calls, started=started)
    return outcome


def _write(order: BenchOrder, outcome: Outcome, *, calls: list[Call], started: float) -> None:
    counts = {"requests": len(calls), "completed": outcome.metrics.completed}
    found = origin(config=config(order, outcome.address), seeds=[order.seed], counts=counts, started=started)
    table = markdown(outcome.metrics, stopped=outcome.stopped)
    assert order.out is not None
    write(order.out, calls, summary=outcome.as_json(), table=table, found={**found, "stopped": outcome.stopped})

"""One block, measured by our own client: sent, counted, and judged whether it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.arms import Target
from benchmarks.calls import Address, Call
from benchmarks.metrics import Metrics, measure
from benchmarks.own_loop import in_own_loop
from benchmarks.runner import Runner
from benchmarks.schedule import Block
from benchmarks.suite import Load, Suite
from benchmarks.usage import Usage, Watched
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True, slots=True)
class Measured:
    """One block. `usage` is None where the arm's processes cannot be seen; a block with a fault counts in no figure.

    `span`: from the zero of its clock to its end, in seconds since the epoch.
    """

    block: Block
    metrics: Metrics
    usage: Usage | None
    fault: str | None = None
    span: tuple[float, float] = (0.0, 0.0)

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        point = {"clients": self.block.point.clients, "rate": self.block.point.rate}
        block = {"round": self.block.round, "arm": self.block.arm, "seed": self.block.seed, **point}
        usage = None if self.usage is None else asdict(self.usage)
        return {**block, "fault": self.fault, "span": self.span, "usage": usage, "metrics": self.metrics.as_json()}


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends blocks of a suite. `body`: fields of every request; `whole`: a short answer is a fault."""

    suite: Suite
    load: Load
    body: Mapping[str, Any]
    whole: bool

    def measure(self, block: Block, target: Target, *, watched: Watched, heard: Callable[[Call], None]) -> Measured:
        """Send one block. `heard` gets every call that has ended."""
        load = self._load(block)
        address = Address(target.url, target.model, target.key, self.suite.api)
        runner = Runner(address, load, seed=block.seed, heard=heard)
        before = watched.usage()
        in_own_loop(runner.go())
        after, began = watched.usage(), runner.run.started_at
        used = after.since(before) if after is not None and before is not None else None
        metrics = measure(runner.run, load, slos=self.suite.slos)
        fault = self._fault(metrics, load, stopped=runner.run.stopped)
        return Measured(block, metrics, used, fault, (began, began + runner.run.ended_s))

    def _load(self, block: Block) -> Load:
        """The suite's load, driven as the point says."""
        point = block.point
        if point.rate is not None:
            workload = WORKLOADS.read({"kind": "poisson", "rate": point.rate})
        else:
            workload = WORKLOADS.read({"kind": "closed", "clients": point.clients})
        fixed = {"requests": point.requests, "duration_s": None, "warm_up_s": 0.0, "workload": workload}
        return self.load.model_copy(update={**fixed, "body": {**self.load.body, **self.body}})

    def _fault(self, metrics: Metrics, load: Load, *, stopped: str | None) -> str | None:
        if stopped is not None:
            return stopped
        if metrics.errors:
            return ", ".join(f"{count} × {error}" for error, count in metrics.errors.items())
        if self.whole and metrics.output_tokens != (wanted := metrics.completed * load.answer_tokens):
            return f"{metrics.output_tokens} tokens were answered instead of {wanted}"
        return None

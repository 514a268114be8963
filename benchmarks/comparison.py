"""One run over all arms: started, shown to be equal, measured in turn, stopped.

Owns the order of things and the raw results on disk. Does not know what an arm is made of or how figures are counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.arms import Arm, ArmFailed, Bench, Target
from benchmarks.arms.bare import BareVllm
from benchmarks.arms.penstock import Penstock
from benchmarks.arms.serve_llm import RayServeLlm
from benchmarks.engine_facts import EngineFacts, differences, missing, read_facts
from benchmarks.load import LoadGenerator, Measured, Prompts
from benchmarks.origin import REPOSITORY
from benchmarks.profiling import recording, shares, table
from benchmarks.schedule import (
    AS_SHIPPED,
    BARE,
    BARE_AGAIN,
    BARE_SHIPPED,
    PENSTOCK,
    SERVE_LLM_SHIPPED,
    Block,
    prompts_for,
)

PROFILED_CLIENTS = 16
PROFILED_BLOCKS = 3
WARM_UP = 16


class Unequal(Exception):
    """The engines are not the same: what would be measured is not the data plane."""


class Comparison:
    """The arms of one run. Use as a context manager: whatever was started is stopped at its end."""

    def __init__(self, bench: Bench, *, console: Console, out: Path) -> None:
        self._bench = bench
        self._console = console
        self._out = out
        self._arms: dict[str, Arm] = {}
        self._stops = ExitStack()  # one that fails to stop does not keep the others running
        self._targets: dict[str, Target] = {}
        self.facts: dict[str, EngineFacts] = {}
        self.failed: dict[str, str] = {}
        self.measured: list[Measured] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stops.__exit__(kind, error, at)

    def start(self, penstock: Penstock, *, fallback_cores: str) -> None:
        """Start every arm. Penstock chooses its cores itself, so it is first and the others follow it."""
        self.add(penstock)
        facts = self.facts.get(PENSTOCK)
        cores = facts.worker_cores[0] if facts is not None else fallback_cores
        self.add(BareVllm(self._bench, cores))
        self.add(RayServeLlm(self._bench, cores))
        self.add(BareVllm(self._bench, cores, name=BARE_SHIPPED, as_shipped=True))
        self.add(RayServeLlm(self._bench, cores, name=SERVE_LLM_SHIPPED, as_shipped=True))
        if BARE not in self._targets:
            raise ArmFailed(BARE, "there is nothing to compare with")
        self._targets[BARE_AGAIN] = self._targets[BARE]
        read = json.dumps({name: facts.as_json() for name, facts in self.facts.items()}, indent=1)
        (self._out / "engines.json").write_text(read.replace(f"{REPOSITORY}/", "") + "\n")
        self._assert_equal()

    def measure(self, blocks: Sequence[Block], generator: LoadGenerator, *, prompts: Prompts) -> None:
        """Every block of every arm that is up, each written to disk at once."""
        for arm in dict.fromkeys(block.arm for block in blocks):
            if arm in self._targets:
                self._block(Block(0, WARM_UP, arm, seed=WARM_UP), generator, prompts=prompts)
        wanted = [block for block in blocks if block.arm in self._targets]
        with self._progress() as progress, (self._out / "blocks.jsonl").open("w") as raw:
            task = progress.add_task("starting", total=len(wanted))
            for block in wanted:
                progress.update(task, description=f"{block.clients:>3} clients  {block.arm}")
                one = self._block(block, generator, prompts=prompts)
                self.measured.append(one)
                raw.write(json.dumps(asdict(one)) + "\n")
                raw.flush()
                progress.advance(task)

    def profile_gateway(self, generator: LoadGenerator, *, prompts: Prompts, seed: int) -> None:
        """Sample each gateway process under load and keep where its time goes."""
        if PENSTOCK not in self._targets:
            return
        for process in self._arms[PENSTOCK].front():
            stacks = self._out / "gateway.stacks"
            with recording(process.pid, stacks):
                for number in range(PROFILED_BLOCKS):
                    self._block(Block(0, PROFILED_CLIENTS, PENSTOCK, seed + number), generator, prompts=prompts)
            found = shares(stacks.read_text())
            (self._out / "gateway-profile.txt").write_text(table(found))
            (self._out / "gateway-profile.json").write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")

    def add(self, arm: Arm) -> None:
        """Start one arm; one that fails is kept with its reason, and the others go on."""
        self._arms[arm.name] = arm
        self._stops.callback(self._stop, arm)
        self._console.print(f"Starting {arm.name}")
        try:
            target = arm.start()
            engine = arm.engine()
            if engine is None:
                raise ArmFailed(arm.name, "its engine's processes were not found")
        except ArmFailed as failure:
            self.failed[arm.name] = failure.reason
            self._console.print(f"{failure}", style="bold red", markup=False)
            self._console.print(failure.log, style="dim", markup=False)
            return
        self._targets[arm.name] = target
        self.facts[arm.name] = read_facts(engine, arm.metrics(), card=self._bench.card)

    def _stop(self, arm: Arm) -> None:
        self._console.print(f"Stopping {arm.name}")
        arm.stop()

    def _assert_equal(self) -> None:
        for name, facts in self.facts.items():
            if unread := missing(facts):
                raise Unequal(f"The engine of {name!r} does not show its {', '.join(unread)}: equality is not known.")
            if name in AS_SHIPPED:
                continue
            if found := differences(self.facts[BARE], facts):
                raise Unequal(f"The engines of {BARE!r} and {name!r} differ: {'; '.join(found)}.")
        self._console.print(f"Equal engines, read from {len(self.facts.keys() - AS_SHIPPED)} live processes.")

    def _block(self, block: Block, generator: LoadGenerator, *, prompts: Prompts) -> Measured:
        file = self._bench.folder / "prompts.json"
        prompts.write(file, count=prompts_for(block.clients), seed=block.seed)
        return generator.run(block, self._targets[block.arm], model=self._bench.model, prompts=file)

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, TimeRemainingColumn(), console=self._console)

"""The arms of one run: started, shown to be equal, measured in turn, stopped.

Owns what is up and the order of things. Does not know what an arm is made of or how figures are counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.arms import Arm, ArmFailed, Bench, Target
from benchmarks.arms.catalog import AS_SHIPPED, BARE, BARE_MOCK, LITELLM, NULL, build, label
from benchmarks.calls import Call
from benchmarks.engine_facts import EngineFacts, differences, missing, read_facts
from benchmarks.measuring import Measured, Sender
from benchmarks.origin import REPOSITORY
from benchmarks.schedule import Block
from benchmarks.usage import Watched

Calls = Callable[[Block, Call], None]


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
        self.watched: dict[str, Watched] = {}
        self.facts: dict[str, EngineFacts] = {}
        self.failed: dict[str, str] = {}
        self.measured: list[Measured] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stops.__exit__(kind, error, at)

    @property
    def up(self) -> list[str]:
        """The arms that can be measured, in the order of their start."""
        return list(self._targets)

    @property
    def reference(self) -> str:
        """The arm that the others are held against: the bare one, or the first that is up."""
        bare = [name for name in (BARE, BARE_MOCK) if name in self._targets]
        return bare[0] if bare else self.up[0]

    @property
    def engines(self) -> dict[str, str]:
        """Arm → whose engine answers it, for those that have none of their own."""
        return {name: self.reference for name in (NULL, LITELLM) if name in self._targets}

    def start(self, names: Iterable[str], *, null: bool) -> None:
        """Start every arm. The first that has cores of its own choice sets those of all that follow."""
        for name in names:
            self.add(build(name, self._bench))
            if label(name) in (BARE, BARE_MOCK) and label(name) in self._targets:
                self._bench = replace(self._bench, upstream=self._arms[label(name)])
            if len(self.facts) == 1 and label(name) in self.facts:
                self._bench = replace(self._bench, cores=self.facts[label(name)].worker_cores[0])
        if not self._targets:
            raise ArmFailed(", ".join(self.failed), "there is nothing to measure")
        if null:
            self._targets[NULL] = self._targets[self.reference]
            self.watched[NULL] = self.watched[self.reference]
        read = json.dumps({name: facts.as_json() for name, facts in self.facts.items()}, indent=1)
        (self._out / "engines.json").write_text(read.replace(f"{REPOSITORY}/", "") + "\n")
        self._assert_equal()

    def add(self, arm: Arm) -> None:
        """Start one arm; one that fails is kept with its reason, and the others go on."""
        self._arms[arm.name] = arm
        self._stops.callback(self._stop, arm)
        self._console.print(f"Starting {arm.name}", markup=False)
        try:
            target = arm.start()
            watched = Watched(arm)
            engine = arm.engine()
            if watched.known and engine is None:
                raise ArmFailed(arm.name, "its engine's processes were not found")
        except ArmFailed as failure:
            self.failed[arm.name] = failure.reason
            self._console.print(f"{failure}", style="bold red", markup=False)
            self._console.print(failure.log, style="dim", markup=False)
            return
        self._targets[arm.name], self.watched[arm.name] = target, watched
        if engine is not None and self._bench.mock is None and arm.name != LITELLM:
            self.facts[arm.name] = read_facts(engine, arm.metrics(), card=self._bench.card)

    def arm(self, name: str) -> Arm:
        """An arm that was started."""
        return self._arms[name]

    def measure(self, blocks: Sequence[Block], sender: Sender, *, heard: Calls) -> None:
        """Every block of every arm that is up, each written to disk at once."""
        wanted = [block for block in blocks if block.arm in self._targets]
        with self._progress() as progress, (self._out / "blocks.jsonl").open("a") as raw:
            task = progress.add_task("measuring", total=len(wanted))
            for block in wanted:
                progress.update(task, description=f"{block.point.name}  {block.arm}")
                one = self.once(block, sender, heard=heard)
                self.measured.append(one)
                _append(raw, one)
                progress.advance(task)

    def once(self, block: Block, sender: Sender, *, heard: Calls | None = None) -> Measured:
        """One block, kept nowhere."""
        watched, target = self.watched[block.arm], self._targets[block.arm]
        hear = (lambda call: heard(block, call)) if heard is not None else (lambda _: None)
        return sender.measure(block, target, watched=watched, heard=hear)

    def _stop(self, arm: Arm) -> None:
        self._console.print(f"Stopping {arm.name}", markup=False)
        arm.stop()

    def _assert_equal(self) -> None:
        held = {name: facts for name, facts in self.facts.items() if name not in AS_SHIPPED}
        for name, facts in self.facts.items():
            if unread := missing(facts):
                raise Unequal(f"The engine of {name!r} does not show its {', '.join(unread)}: equality is not known.")
        for name, facts in held.items():
            first = next(iter(held))
            if found := differences(held[first], facts):
                raise Unequal(f"The engines of {first!r} and {name!r} differ: {'; '.join(found)}.")
        if len(held) > 1:
            self._console.print(f"Equal engines, read from {len(held)} live processes.")

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, TimeRemainingColumn(), console=self._console)


def _append(raw: IO[str], one: Measured) -> None:
    raw.write(json.dumps(one.as_json()) + "\n")
    raw.flush()


def call_line(block: Block, call: Call) -> str:
    """A call with the block that it belongs to, as `calls.jsonl.gz` holds it."""
    place = {"arm": block.arm, "round": block.round, "load": block.point.name}
    stamps = [round(stamp, 6) for stamp in call.chunks_s]
    return json.dumps({**asdict(call), "chunks_s": stamps, **place})

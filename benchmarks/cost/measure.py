"""One gateway, counted three times over: calls and bytes, allocations, processor time. Owns the order of things.

Does not know how a gateway is made: whoever calls passes `Opener`, which opens one in this process.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import uvloop

from benchmarks.cost.counters import Allocations, Calls, Count, Figures, ProcessorTime
from benchmarks.cost.standing import StandingClock, StandingLoop
from benchmarks.cost.wire import PATHS
from benchmarks.own_loop import in_own_loop
from models.clock import Clock, SystemClock
from models.errors import ConfigurationError

SETTLE_S = 0.1
"""So long after a block its records are in the database. Processor time has that in it; where time stands still, it is
done between the blocks."""

REST_S, REST_CPU_S, RESTS = 0.05, 0.002, 20
"""Work that began while time ran is done once the process has spent less processor time than this in so long. After so
many of these a block begins all the same: something else is at work in this process, and does not end."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of request; `chunks` is the length of its answer."""

    name: str
    api: str
    stream: bool
    chunks: int


REQUESTS = (
    Scenario("chat_stream", "chat", True, 64),
    Scenario("chat", "chat", False, 64),
    Scenario("completions_stream", "completions", True, 64),
)
SHORT, LONG = Scenario("short", "chat", True, 16), Scenario("long", "chat", True, 256)


@dataclass(frozen=True, slots=True)
class Served:
    """A gateway that listens on a loopback port, and what a client of it needs."""

    port: int
    key: str
    model: str


class Opener(Protocol):
    """Opens the gateway under count in this process."""

    def __call__(self, engine_url: str, folder: Path, *, clock: Clock) -> AbstractAsyncContextManager[Served]:
        """In front of the engine at this URL; what it keeps goes into the folder. It serves while the block is open."""
        ...


Ask = Callable[[Scenario, int], Awaitable[Figures]]
"""Has so many requests sent, one after the other, and gives the bytes of all together."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One way to count, and how often: so many blocks of so many requests of each kind."""

    kind: str
    blocks: int
    requests: int


FULL = (Pass("calls", 5, 5), Pass("allocations", 5, 5), Pass("cpu", 15, 10))
QUICK = (Pass("calls", 3, 2), Pass("allocations", 3, 2))


@dataclass(slots=True)
class Samples:
    """What one request cost, block by block: scenario → figure → values. `functions`: who was called, by scenario."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    functions: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, scenario: str, figures: Figures) -> None:
        """One block."""
        for name, value in figures.items():
            self.values.setdefault(scenario, {}).setdefault(name, []).append(value)


class Peer:
    """The other process: the engine's address, and blocks of requests sent to a gateway from there."""

    def __init__(self, engine_port: int, control_port: int) -> None:
        self.engine_url = f"http://127.0.0.1:{engine_port}"
        self._port = control_port

    @asynccontextmanager
    async def asking(self, served: Served) -> AsyncIterator[Ask]:
        """The way to have this gateway asked, while the block is open."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def ask(one: Scenario, requests: int) -> Figures:
            order = {"path": PATHS[one.api], "model": served.model, "key": served.key, "stream": one.stream}
            order |= {"chunks": one.chunks, "port": served.port, "requests": requests}
            writer.write(json.dumps(order).encode() + b"\n")
            found = json.loads(await reader.readline())
            if "error" in found:
                raise ConfigurationError("The gateway under count refused a request.", detail=found["error"])
            return {f"bytes_{name}": count for name, count in found.items()}

        try:
            yield ask
        finally:
            writer.close()


@contextmanager
def peer() -> Iterator[Peer]:
    """Start the other process; it ends with the block."""
    command = (sys.executable, "-P", "-m", "benchmarks.cost.peer")  # -P: not a folder of the caller's
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        assert process.stdout is not None
        ports = process.stdout.readline()
        if not ports:
            raise ConfigurationError("The process that holds the engine and the client did not start.")
        yield Peer(*json.loads(ports))


def measure(opener: Opener, passes: Sequence[Pass] = FULL, *, heard: Callable[[], None] = lambda: None) -> Samples:
    """Everything, in turn. `heard` is called behind every block, `blocks(passes)` times in all."""
    samples = Samples()
    with peer() as other, tempfile.TemporaryDirectory(prefix="penstock-cost-") as scratch:
        for number, one in enumerate(passes):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            counting = _Counting(opener, other, samples=samples, heard=heard)
            loop_factory = uvloop.new_event_loop if one.kind == "cpu" else StandingLoop
            in_own_loop(counting.run(one, folder), loop_factory=loop_factory)
    return samples


def blocks(passes: Sequence[Pass]) -> int:
    """How many blocks there are to count."""
    return sum(one.blocks for one in passes) * len((*REQUESTS, SHORT, LONG))


class _Counting:
    """One pass in its own loop, with a gateway of its own."""

    def __init__(self, opener: Opener, other: Peer, *, samples: Samples, heard: Callable[[], None]) -> None:
        self._opener = opener
        self._peer = other
        self._samples = samples
        self._heard = heard

    async def run(self, one: Pass, folder: Path) -> None:
        loop, count = asyncio.get_running_loop(), _count(one.kind, folder)
        clock = StandingClock(loop) if isinstance(loop, StandingLoop) else SystemClock()
        with count.open():
            async with (
                self._opener(self._peer.engine_url, folder, clock=clock) as served,
                self._peer.asking(served) as ask,
            ):
                for scenario in (*REQUESTS, SHORT, LONG) * one.blocks:
                    await self._one(scenario, one.requests, count=count, ask=ask)

    async def _one(self, scenario: Scenario, requests: int, *, count: Count, ask: Ask) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(loop, StandingLoop):
            with loop.standing():
                await _rest()
                await self._block(scenario, requests, count=count, ask=ask)
            await asyncio.sleep(SETTLE_S)
        else:
            await self._block(scenario, requests, count=count, ask=_settled(ask))
        self._heard()

    async def _block(self, scenario: Scenario, requests: int, *, count: Count, ask: Ask) -> None:
        """So many requests, less what it costs to order none: the first one warms what grows cold in between."""
        await ask(scenario, 1)
        with count.window() as all_of_it:
            sizes = await ask(scenario, requests)
        if count.functions:
            self._samples.functions[scenario.name] = count.functions
        self._samples.add(scenario.name, {name: size / requests for name, size in sizes.items()})
        with count.window() as nothing:
            await ask(scenario, 0)
        self._samples.add(scenario.name, {name: (all_of_it[name] - nothing[name]) / requests for name in nothing})


async def _rest() -> None:
    """While time stands still nothing new begins: wait until what had begun (a key read anew, say) has ended."""
    for _ in range(RESTS):
        before_s = time.process_time()
        await asyncio.to_thread(time.sleep, REST_S)
        if time.process_time() - before_s < REST_CPU_S:
            return


def _settled(ask: Ask) -> Ask:
    """The same, and what comes behind the requests by the clock."""

    async def ask_and_wait(one: Scenario, requests: int) -> Figures:
        found = await ask(one, requests)
        await asyncio.sleep(SETTLE_S)
        return found

    return ask_and_wait


def _count(kind: str, folder: Path) -> Count:
    if kind == "calls":
        return Calls()
    return Allocations(folder) if kind == "allocations" else ProcessorTime()

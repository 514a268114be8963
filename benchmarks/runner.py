"""One run of a suite against one server: who is sent when, until it ends, and what was seen.

Owns the order of sending and the reasons to stop early. Does not count (`metrics.py`) and writes no file.
"""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import aiohttp

from benchmarks.calls import OUT_OF_FILES, UNREACHABLE, Address, Call, Caller
from benchmarks.many_models import Popularity
from benchmarks.priority import Priority, ahead
from benchmarks.prompts import Order, ask
from benchmarks.suite import Load
from benchmarks.workloads import Arrival, arrivals
from models.errors import PenstockError

GONE_AFTER_S = 3.0
PAUSE_S = 0.1
TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class _Due:
    """A request whose time comes `at_s` seconds after the start."""

    number: int
    at_s: float
    body: Mapping[str, Any]


@dataclass(slots=True)
class Run:
    """What was seen. `stopped` is the reason when it did not come to its end; `cpu_share` is of one core.

    `started_at`: the zero of all its times, in seconds since the epoch.
    """

    calls: list[Call] = field(default_factory=list)
    priority: Priority = "normal"
    started_at: float = 0.0
    ended_s: float = 0.0
    cpu_share: float = 0.0
    loop_lag_s: list[float] = field(default_factory=list)
    stopped: str | None = None


class Runner:
    """Sends a load. `heard` is called with every call that has ended."""

    def __init__(self, address: Address, load: Load, *, seed: int, heard: Callable[[Call], None]) -> None:
        self._address = address
        self._load = load
        self._popularity = None if load.models is None else Popularity(address.models, zipf=load.models.zipf)
        self._seed = seed
        self._heard = heard
        self._failing_since: float | None = None
        self._work: asyncio.Task[None] | None = None
        self.run = Run()

    async def go(self) -> Run:
        """The whole run; what was seen so far stays in `run` when it is cancelled."""
        with ahead() as self.run.priority:
            return await self._go()

    async def _go(self) -> Run:
        cpu, began = _cpu_s(), time.perf_counter()
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            caller = Caller(session, self._address, timeout_s=self._load.timeout_s)
            self.run.started_at = caller.started_at
            ticking = asyncio.create_task(self._tick())
            self._work = asyncio.create_task(self._send_all(caller))
            try:
                await asyncio.wait([self._work])
            except asyncio.CancelledError:
                self.halt("interrupted")
                raise
            finally:
                ticking.cancel()
                with suppress(asyncio.CancelledError):
                    await self._work
                self.run.ended_s = caller.clock()
                self.run.cpu_share = (_cpu_s() - cpu) / max(1e-9, time.perf_counter() - began)
        return self.run

    @property
    def unanswered(self) -> bool:
        """Whether the last that was heard of the target is that nobody listens there."""
        return self._failing_since is not None

    def halt(self, reason: str) -> None:
        """End the run now; what is in flight stays without an end."""
        self.run.stopped = self.run.stopped or reason
        if self._work is not None:
            self._work.cancel()

    async def _send_all(self, caller: Caller) -> None:
        due = self._due()
        at_once = self._load.workload.at_once
        async with asyncio.TaskGroup() as group:
            if at_once is None:
                await self._open(caller, due, group=group)
            else:
                for _ in range(at_once):
                    group.create_task(self._client(caller, due))

    def _due(self) -> Iterator[_Due]:
        """Every request with its body, made just before it is needed."""
        found = arrivals(self._load.workload, random.Random(self._seed))
        for number, arrival in enumerate(islice(found, self._load.requests)):
            yield _Due(number, arrival.at_s, self.body(Order(self._seed, number, arrival.prompt_words), arrival))

    def _next(self, due: Iterator[_Due]) -> _Due | None:
        """A trace that cannot be read on ends the run, and what was seen stays."""
        try:
            return next(due, None)
        except PenstockError as error:
            self.run.stopped = error.public
            return None

    async def _client(self, caller: Caller, due: Iterator[_Due]) -> None:
        """A client of a closed loop: the next request when the last answer is there."""
        while not self._over(caller.clock()):
            one = self._next(due)
            if one is None:
                return
            call = await self._send(caller, Call(one.number, asked_model=one.body["model"]), body=one.body)
            if call.error in (UNREACHABLE, OUT_OF_FILES):
                await asyncio.sleep(PAUSE_S)

    async def _open(self, caller: Caller, due: Iterator[_Due], *, group: asyncio.TaskGroup) -> None:
        """An open loop: every request at its time, whatever became of the others."""
        while (one := self._next(due)) is not None:
            if self._over(one.at_s):
                return
            await asyncio.sleep(max(0.0, one.at_s - caller.clock()))
            if self.run.stopped is not None:
                return
            call = Call(one.number, due_s=one.at_s, asked_model=one.body["model"])
            group.create_task(self._send(caller, call, body=one.body))

    async def _send(self, caller: Caller, call: Call, *, body: Mapping[str, Any]) -> Call:
        self.run.calls.append(call)
        await caller.send(call, body)
        self._judge(call)
        self._heard(call)
        return call

    def body(self, order: Order, arrival: Arrival) -> dict[str, Any]:
        """What is sent for one request."""
        question = ask(self._load.prompts, order)
        text = {"messages": question.messages} if self._address.api == "chat" else {"prompt": question.text}
        return {
            "model": self._address.model if self._popularity is None else self._popularity.model(order),
            **text,
            "max_tokens": arrival.answer_tokens or self._load.answer_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **question.body,
            **self._load.body,
        }

    def _over(self, now: float) -> bool:
        duration = self._load.duration_s
        return self.run.stopped is not None or (duration is not None and now >= duration)

    def _judge(self, call: Call) -> None:
        """A server that has answered nothing at all for a while is gone: no use in asking on."""
        if call.status is not None:
            self._failing_since = None
        elif call.error == UNREACHABLE:
            self._failing_since = call.sent_s if self._failing_since is None else self._failing_since
            if call.ended_s - self._failing_since > GONE_AFTER_S:
                self.run.stopped = "the target does not answer any more"

    async def _tick(self) -> None:
        """How late this process itself wakes up: what a server cannot be blamed for."""
        with suppress(asyncio.CancelledError):
            while True:
                before = time.perf_counter()
                await asyncio.sleep(TICK_S)
                self.run.loop_lag_s.append(max(0.0, time.perf_counter() - before - TICK_S))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

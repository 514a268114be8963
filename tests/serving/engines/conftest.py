"""One gateway's engine client over fake engines on real sockets, and the check that nothing is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import perf_counter, time
from typing import Any

import pytest
import uvloop

from models.types import Attempt, GenerationRequest, Plan, Principal, Route
from serving.engines.answer import Answer
from serving.engines.attempts import EngineClient
from serving.engines.endpoints import ReplicaPicker
from serving.engines.upstream import Upstream
from serving.settings import TimerSettings
from serving.telemetry.record import CallRecord
from serving.testing import FakeEngine, Script, StaticDirectory, serve

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


def pytest_asyncio_loop_factories(
    config: pytest.Config,
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Engines are called from uvloop, whose transports differ in what they are; the wire and its timer run on both."""
    return LOOPS if item.path.name in ("test_wire.py", "test_watchdog.py") else {"uvloop": LOOPS["uvloop"]}


CALLER = Principal("key-1", "acme", "ada", "inference")
TOKEN = "cluster-token"


def make_request(**changes: Any) -> GenerationRequest:
    """A streamed chat request, unless told otherwise; `body` fields are merged."""
    body = {"model": "auto", "messages": [{"role": "user", "content": "hi"}], **changes.pop("body", {})}
    stream = changes.pop("stream", True)
    values = {"id": "req-1", "kind": "chat", "model": "auto", "include_usage": False, "text": "hi", **changes}
    return GenerationRequest(body={**body, "stream": stream}, stream=stream, received=perf_counter(), **values)


def make_plan(*cards: str) -> Plan:
    """One attempt per card: the first serves `small`, the others `large`."""
    attempts = tuple(Attempt(card, "large" if index else "small") for index, card in enumerate(cards))
    return Plan("auto", attempts, Route(("small", "large"), "static", "by order"))


@dataclass
class Gateway:
    """What a test holds: the client under test, the fakes behind it, and the record of the last call."""

    client: EngineClient
    directory: StaticDirectory
    engines: dict[str, list[FakeEngine]]
    plan: Plan
    record: CallRecord = field(default_factory=lambda: CallRecord("req-1", time(), "chat"))

    def engine(self, card: str = "small", index: int = 0) -> FakeEngine:
        return self.engines[card][index]

    async def start(self, request: GenerationRequest | None = None, caller: Principal = CALLER) -> Answer:
        self.record = CallRecord("req-1", time(), "chat")
        return await self.client.start(self.plan, request or make_request(), caller=caller, record=self.record)

    async def read(self, request: GenerationRequest | None = None, caller: Principal = CALLER) -> bytes:
        answer = await self.start(request, caller)
        if answer.body is not None:
            return answer.body
        assert answer.stream is not None
        return b"".join([part async for part in answer.stream])


MakeGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def gateway() -> AsyncIterator[MakeGateway]:
    """Build a gateway over `{card: [Script, …]}`; afterwards nothing is in flight, running or scheduled."""
    before = asyncio.all_tasks()
    made: list[Gateway] = []
    async with AsyncExitStack() as stack:

        async def build(cards: dict[str, list[Script]] | None = None, **timers: float) -> Gateway:
            engines = {
                card: [FakeEngine(script, token=TOKEN, keep_sent=True) for script in scripts]
                for card, scripts in (cards or {"small": [Script()]}).items()
            }
            urls = {
                card: [await stack.enter_async_context(serve(engine)) for engine in fakes]
                for card, fakes in engines.items()
            }
            directory = StaticDirectory(urls)
            settings = TimerSettings(**timers)
            upstream = Upstream(token=TOKEN, salt_secret=b"salt", connect_s=settings.connect_s)
            picker = ReplicaPicker(directory, suspect_s=settings.suspect_s)
            client = await stack.enter_async_context(EngineClient(upstream, picker, timers=settings))
            made.append(Gateway(client, directory, engines, make_plan(*engines)))
            return made[-1]

        yield build
        for one in made:
            assert one.client.picker.in_flight == 0
            await _idle(one)
    await asyncio.sleep(0)
    assert made, "the fixture looked at nothing"
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


async def _idle(gateway: Gateway) -> None:
    """Every fake has seen its requests end, within the quarter of a second that a closed connection may take."""
    async with asyncio.timeout(0.25):
        for engine in [engine for engines in gateway.engines.values() for engine in engines]:
            await engine.idle.wait()

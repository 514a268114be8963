"""Engine replicas as processes of their own: killed and stopped for real, by their pid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from models.errors import PenstockError
from serving.telemetry.record import CallRecord
from serving.testing import Script, free_socket

from .conftest import CALLER, Gateway, MakeGateway, make_request

ROOT = Path(__file__).parents[3]
SLOW = Script(tokens=75, tpot_s=0.02)


@dataclass
class Replica:
    """One fake engine in a process of its own."""

    process: subprocess.Popen[bytes]
    base_url: str

    async def running(self) -> int:
        """The requests that it works on."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.base_url}/seen") as answer:
            return int((await answer.json())["running"])

    async def play(self, script: Script) -> None:
        url = f"{self.base_url}/script"
        async with aiohttp.ClientSession() as session, session.post(url, json=asdict(script)) as answer:
            assert answer.status == 200

    def hit(self, number: signal.Signals) -> float:
        """Send a signal, prove that it arrived, and tell when."""
        os.kill(self.process.pid, number)
        if number == signal.SIGKILL:
            assert self.process.wait() == -signal.SIGKILL
        else:
            _, status = os.waitpid(self.process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
        return monotonic()


async def spawn() -> Replica:
    """Start one and wait until it answers."""
    with free_socket() as listener:
        listener.listen(64)
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        number = listener.fileno()
        command = [sys.executable, "-m", "uvicorn", "serving.testing:FakeEngine", "--factory", "--fd", str(number)]
        options = ["--log-level", "critical", "--lifespan", "off"]
        process = subprocess.Popen([*command, *options], pass_fds=(number,), cwd=ROOT)  # noqa: ASYNC220
    async with aiohttp.ClientSession() as session, asyncio.timeout(20), session.get(f"{base_url}/seen") as answer:
        assert (await answer.json())["pid"] == process.pid
    return Replica(process, base_url)


@pytest.fixture
async def replicas() -> AsyncIterator[list[Replica]]:
    """Two of them."""
    both = await asyncio.gather(spawn(), spawn())
    yield list(both)
    for replica in both:
        with suppress(ProcessLookupError):
            replica.process.kill()
        replica.process.wait()


async def over(gateway: MakeGateway, replicas: list[Replica], script: Script, **timers: float) -> Gateway:
    """A gateway over these processes, all playing the same script."""
    box = await gateway(**timers)
    box.directory.base_urls["small"] = [replica.base_url for replica in replicas]
    for replica in replicas:
        await replica.play(script)
    return box


async def outcome(box: Gateway, begun: asyncio.Semaphore, read_at: list[float] | None = None) -> str:
    """Read one stream to its end: `ok` or the code of its error frame. `read_at`: gets when each part was read."""
    record = CallRecord("req-1", 0.0, "chat")
    answer = await box.client.start(box.plan, make_request(), caller=CALLER, record=record)
    assert answer.stream is not None
    begun.release()
    try:
        async for _ in answer.stream:
            if read_at is not None:
                read_at.append(monotonic())
    except PenstockError as error:
        return error.code
    return "ok"


async def test_a_killed_replica_ends_its_streams_with_an_error_and_no_others(
    gateway: MakeGateway, replicas: list[Replica]
) -> None:
    box = await over(gateway, replicas, SLOW)
    begun = asyncio.Semaphore(0)
    calls = [asyncio.create_task(outcome(box, begun)) for _ in range(8)]
    for _ in calls:
        await begun.acquire()
    loads = {name: state.in_flight for name, state in box.client.picker.states()["small"].items()}
    killed_at = replicas[0].hit(signal.SIGKILL)
    done, _ = await asyncio.wait(calls, timeout=2, return_when=asyncio.FIRST_COMPLETED)
    assert done
    assert monotonic() - killed_at < 2
    outcomes = await asyncio.gather(*calls)
    victim = replicas[0].base_url.removeprefix("http://")
    assert outcomes.count("upstream_lost") == loads[victim] >= 1
    assert outcomes.count("ok") == 8 - loads[victim]


async def test_before_the_first_token_a_killed_replica_costs_nobody_an_error(
    gateway: MakeGateway, replicas: list[Replica]
) -> None:
    box = await over(gateway, replicas, Script(ttft_s=3))
    calls = [asyncio.create_task(outcome(box, asyncio.Semaphore(0))) for _ in range(8)]
    async with asyncio.timeout(10):
        while sum(await asyncio.gather(*(replica.running() for replica in replicas))) < 8:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    replicas[0].hit(signal.SIGKILL)
    await replicas[1].play(Script())
    assert await asyncio.gather(*calls) == ["ok"] * 8
    survivor = replicas[1].base_url.removeprefix("http://")
    assert (await box.read()).endswith(b"[DONE]\n\n")
    assert box.record.attempts[-1].replica == survivor


async def test_without_any_replica_left_the_answer_comes_within_two_seconds(
    gateway: MakeGateway, replicas: list[Replica]
) -> None:
    box = await over(gateway, replicas, Script())
    await box.read()
    for replica in replicas:
        killed_at = replica.hit(signal.SIGKILL)
    with pytest.raises(PenstockError) as caught:
        await box.start()
    assert monotonic() - killed_at < 2
    assert (caught.value.code, caught.value.retry_after_s) == ("no_capacity", 2)


async def test_a_stopped_replica_is_left_for_another_before_the_first_token_and_told_after_it(
    gateway: MakeGateway, replicas: list[Replica]
) -> None:
    streaming = await over(gateway, replicas, replace(SLOW, tokens=1000), first_token_s=5, between_tokens_s=0.3)
    beginning = await over(gateway, replicas, replace(SLOW, tokens=1000), first_token_s=0.3)
    for box in (streaming, beginning):
        box.directory.base_urls["small"] = [replicas[0].base_url]
    begun, read_at = asyncio.Semaphore(0), [monotonic()]
    running = asyncio.create_task(outcome(streaming, begun, read_at))
    beginning_to_read = asyncio.create_task(begun.acquire())
    await asyncio.wait((running, beginning_to_read), return_when=asyncio.FIRST_COMPLETED)
    replicas[0].hit(signal.SIGSTOP)
    assert await running == "upstream_stalled"
    assert 0.25 < monotonic() - read_at[-1] < 1.5
    with pytest.raises(PenstockError) as caught:
        await beginning.start()
    assert caught.value.code == "upstream_timeout"
    for box in (streaming, beginning):
        box.directory.base_urls["small"] = [replica.base_url for replica in replicas]
        answer = await box.start(make_request(stream=False, body={"max_tokens": 2}))
        assert answer.headers["x-penstock-attempts"] == "1", "the suspect is tried last"

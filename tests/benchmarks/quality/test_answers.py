"""Asking one question: what is read of the answer, and what a failure is."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.calls import Address
from benchmarks.quality.answers import Answer, NoAnswer, asking, side_by_side, tiers_of
from models.errors import ConfigurationError, InvalidKey, Unavailable
from serving.testing import FakeEngine, Script, free_socket, serve
from tests.benchmarks.quality.stack import KEY, TableStack, standing


async def test_an_answer_comes_with_its_tokens_its_tier_and_its_route() -> None:
    stack = TableStack(lambda card, prompt: f"{card}:{prompt}", lambda _: "l")
    async with standing(stack) as address, asking(address, max_tokens=8) as asker:
        found = await asker.ask("auto", "hello")
    assert found == Answer("l:hello", 5, 7, tier="large", route="threshold: score 0.30 < 0.40")


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (503, NoAnswer, "^status 503$"),
        (429, NoAnswer, "^status 429$"),
        (404, ConfigurationError, "cannot serve this: told 404"),
        (403, InvalidKey, "refuses the key: told 403"),
    ],
)
async def test_a_failure_is_one_calls_or_everybodys(status: int, error: type[Exception], said: str) -> None:
    stack = TableStack(lambda *_: "x")
    stack.failing = [status]
    async with standing(stack) as address, asking(address, max_tokens=8) as asker:
        with pytest.raises(error, match=said):
            await asker.ask("s", "hello")
        assert (await asker.ask("s", "hello")).text == "x"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script(fault="cut", after=20), "ClientPayloadError|ServerDisconnectedError"),
        (Script(fault="malformed"), "no chat completion"),
        (Script(fault="html"), "no chat completion"),
        (Script(fault="silent"), "timeout"),
    ],
)
async def test_an_engine_that_fails_is_no_answer(script: Script, reason: str) -> None:
    engine, timeout_s = FakeEngine(script), 0.5 if reason == "timeout" else 30
    async with serve(engine) as url, asking(Address(url, ""), max_tokens=8, timeout_s=timeout_s) as asker:
        with pytest.raises(NoAnswer, match=reason):
            await asker.ask("s", "hello")
    assert engine.struck


async def test_nobody_there_is_no_answer_and_no_list_of_tiers() -> None:
    with free_socket() as bound:
        address = Address(f"http://127.0.0.1:{bound.getsockname()[1]}", "")
        async with asking(address, max_tokens=8) as asker:
            with pytest.raises(NoAnswer, match="ClientConnectorError"):
                await asker.ask("s", "hello")
        with pytest.raises(Unavailable, match="Nothing answers"):
            await tiers_of(address)


async def test_the_tiers_are_read_from_the_list_of_models() -> None:
    async with standing(TableStack(lambda *_: "")) as address:
        assert await tiers_of(address) == {"small": "s", "large": "l"}
        with pytest.raises(InvalidKey, match="no such key"):
            await tiers_of(Address(address.url, "", KEY + "x"))
    async with serve(FakeEngine()) as url:
        with pytest.raises(Unavailable, match="does not list its models"):
            await tiers_of(Address(url, ""))


async def test_work_goes_side_by_side_to_its_bound_and_the_first_error_ends_it() -> None:
    running, most, done = 0, 0, 0

    async def work(item: int) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        done += 1
        if item == 30:
            raise NoAnswer("thirty")

    await side_by_side(range(20), work, concurrency=4)
    assert (most, done) == (4, 20)
    with pytest.raises(NoAnswer, match="thirty"):
        await side_by_side(range(1000), work, concurrency=4)
    assert done < 100

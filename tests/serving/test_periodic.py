"""Background work that goes on after a failure and ends with its block."""

import asyncio

import pytest

from models.errors import Unavailable
from serving.periodic import Periodic


@pytest.mark.parametrize("error", [Unavailable("not now"), KeyError("a row that nobody expected")])
async def test_a_round_that_fails_does_not_end_the_rounds(error: Exception) -> None:
    rounds: list[int] = []
    enough = asyncio.Event()

    async def work() -> None:
        rounds.append(len(rounds))
        if len(rounds) >= 3:
            enough.set()
        raise error

    async with Periodic(work, every_s=0.001), asyncio.timeout(5):
        await enough.wait()
    done = len(rounds)
    await asyncio.sleep(0.02)
    assert len(rounds) == done >= 3

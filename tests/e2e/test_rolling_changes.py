"""A stack that is changed while it talks: gateway and engine replaced, then scaled down, and no stream is cut."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from tests.e2e.conftest import PROVE, Stack
from tests.e2e.ledger import assert_left, assert_written
from tests.e2e.processes import actors_of, wait_until
from tests.e2e.profiles import changed_profile
from tests.e2e.traffic import Talk, stream

LARGE, GATEWAY = "demo-large", "gateway"
LONGEST = 30_000
LONG_ENOUGH_S = 150
GONE_WITHIN_S = 300


@pytest.mark.timeout(1200)
async def test_a_long_stream_outlives_gateway_and_engine_and_a_downscale(
    stack: Stack, async_client: AsyncOpenAI, tmp_path: Path
) -> None:
    old = {name: actors_of(stack.state_dir, name) for name in (LARGE, GATEWAY)}
    talking = [Talk(async_client, LARGE, tokens=LONGEST) for _ in range(2)]
    await asyncio.gather(*(talk.started() for talk in talking))

    # An engine's cap and a gateway's breaker are facts of their processes: both are replaced, each with two replicas.
    larger = changed_profile(
        tmp_path, {LARGE: {"max_running": 63, "replicas": 2}}, gateway={"replicas": 2, "breaker_failures": 6}
    )
    await asyncio.to_thread(stack.run, "up", "--profile", str(larger), "--detach", "--json")
    grown = {name: actors_of(stack.state_dir, name) for name in (LARGE, GATEWAY)}
    assert all(len(grown[name] - old[name]) == 2 for name in grown), (old, grown)
    assert (await stream(async_client, LARGE, tokens=5)).complete

    # And down to one of each, while the first streams still run on the replicas that were replaced.
    smaller = changed_profile(tmp_path, {LARGE: {"max_running": 63}}, gateway={"breaker_failures": 6})
    await asyncio.to_thread(stack.run, "up", "--profile", str(smaller), "--detach", "--json")
    await _long_enough(talking)
    outcomes = [await talk.task for talk in talking]
    if PROVE:
        assert all(outcome.complete for outcome in outcomes), outcomes
        assert_written(stack.state_dir, outcomes)
    else:
        rows = assert_left(stack.state_dir, [outcome.request_id or "" for outcome in outcomes])
        assert all(rows[one.request_id or ""]["completion_tokens"] >= one.chunks > 0 for one in outcomes)
    assert all(outcome.took_s >= LONG_ENOUGH_S for outcome in outcomes), [outcome.took_s for outcome in outcomes]
    for name in (LARGE, GATEWAY):
        await asyncio.to_thread(
            wait_until,
            lambda name=name: len(now := actors_of(stack.state_dir, name)) == 1 and not now & old[name],
            limit_s=GONE_WITHIN_S,
        )


async def _long_enough(talking: list[Talk]) -> None:
    """The streams go on behind all changes; the short form leaves them when they have lasted long enough."""
    await asyncio.sleep(max(0.0, talking[0].outcome.started_s + LONG_ENOUGH_S - time.monotonic()))
    await asyncio.gather(*(talk.goes_on() for talk in talking))
    for talk in talking if not PROVE else ():
        talk.leaving.set()

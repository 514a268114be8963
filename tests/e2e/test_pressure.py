"""Clients that leave and clients that are too many: engines come free, and the surplus gets a quick, honest no."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from statistics import quantiles
from uuid import uuid4

import httpx2
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.conftest import PROVE, Stack
from tests.e2e.ledger import assert_left, assert_written
from tests.e2e.liveness import watching
from tests.e2e.processes import wait_until
from tests.e2e.pulse import pulse
from tests.e2e.traffic import MESSAGES, stream, tally

LARGE = "demo-large"
BUSY_WITHIN_S = 10.0
FREED_WITHIN_S = 2.0
FINISHED_AFTER_S = 20.0  # the answers that they left are longer
LEAVING = 200 if PROVE else 40  # an engine's door holds 128, and the others are refused before they leave
ALL_AT_ONCE = httpx2.Limits(max_connections=None)
ANSWERED_WITHIN_S = 5.0
ENDLESS = {"model": LARGE, "messages": MESSAGES, "max_tokens": 10_000, "logit_bias": {"1": -100}}


def _busy(stack: Stack) -> float:
    """Requests that the large engines run or hold back, by their own count, and that the gateways have in flight."""
    text = httpx2.get(f"{stack.url}/metrics", headers={"Authorization": f"Bearer {stack.key}"}, timeout=60).text
    names = r"(?:vllm:num_requests_(?:running|waiting)\{[^}]*demo-large|penstock_inflight_requests\{)[^}]*\}"
    values = re.findall(rf"^{names} ([0-9.]+)$", text, flags=re.M)
    assert len(values) >= 3, "the figures are not there"
    return sum(float(value) for value in values)


@pytest.mark.parametrize("streamed", [True, False])
def test_clients_that_leave_free_the_engine(stack: Stack, client: OpenAI, streamed: bool) -> None:
    url, body = f"{stack.url}/v1/chat/completions", {**ENDLESS, "stream": streamed}
    ids = [uuid4().hex for _ in range(LEAVING)]

    async def leave_when_the_engine_is_busy() -> list[str]:
        """The ids of those that left without an answer."""
        headers = {"Authorization": f"Bearer {stack.key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60, limits=ALL_AT_ONCE) as client:
            calls = [
                asyncio.create_task(client.post(url, json=body, headers={"x-request-id": identity})) for identity in ids
            ]
            await asyncio.sleep(0.5)
            await asyncio.to_thread(wait_until, lambda: _busy(stack) > LEAVING / 2, limit_s=BUSY_WITHIN_S)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
        refused = [call.result() for call in calls if not call.cancelled()]
        assert all(answer.status_code == 503 and answer.headers["retry-after"] for answer in refused)
        return [identity for identity, call in zip(ids, calls, strict=True) if call.cancelled()]

    with pulse() as machine:
        left = asyncio.run(leave_when_the_engine_is_busy())
        assert len(left) >= min(LEAVING, 128)
        since = time.monotonic()
        waited_s = wait_until(lambda: _busy(stack) == 0, limit_s=FINISHED_AFTER_S)
        assert waited_s - machine.lost(since, since + waited_s) < FREED_WITHIN_S
    again = client.chat.completions.with_raw_response.create(model=LARGE, messages=MESSAGES, max_tokens=10)
    assert again.elapsed.total_seconds() < ANSWERED_WITHIN_S
    assert_left(stack.state_dir, left)


async def test_too_many_at_once_are_told_to_come_back(stack: Stack, async_client: AsyncOpenAI) -> None:
    """200 at once on 64 running and 64 waiting: only answers and 503, and the gateway stays awake."""
    with pulse() as machine:
        async with watching(stack.url, seconds=5) as asked:
            outcomes = await asyncio.gather(*(stream(async_client, LARGE, tokens=60, endless=True) for _ in range(200)))
        waits = [ended - begun - machine.lost(begun, ended) for begun, ended in await asked]

    seen = tally(list(outcomes))
    assert set(seen) <= {"ok", "overloaded"}, seen
    assert seen["ok"] >= 128
    assert seen["overloaded"] > 0
    assert all(outcome.status == 503 for outcome in outcomes if outcome.code == "overloaded")
    assert not any(outcome.silently_cut for outcome in outcomes)
    assert quantiles(waits, n=20)[-1] < 0.2, waits  # p95, in seconds
    assert max(waits) < 2, waits  # a gateway that hangs is asked only once meanwhile, and no quantile shows it
    assert_written(stack.state_dir, list(outcomes))


def test_a_refusal_says_when_to_come_back(stack: Stack, tmp_path: Path) -> None:
    """One key, one call at a time: the second gets 429 and `Retry-After`, and the first is not disturbed."""
    key = stack.new_key("--org", "acme", "--user", "one", "--concurrency", "1")
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{stack.url}/v1/chat/completions"
    long = {**ENDLESS, "stream": True, "max_tokens": 3000}
    with httpx2.Client(headers=headers, timeout=60) as client, client.stream("POST", url, json=long) as first:
        lines = first.iter_lines()
        next(lines)
        second = client.post(url, json={**ENDLESS, "max_tokens": 1})
        assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(second.headers["retry-after"]) <= 120
        assert "data: [DONE]" in list(lines)

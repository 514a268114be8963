"""A client that leaves frees the engine: the fake sees its connection close within a quarter of a second."""

import asyncio
from time import monotonic

import pytest

from serving.testing import FakeEngine, Script

from .conftest import Gateway, MakeGateway, make_request

SOON_S = 0.25
STEADY = Script(tokens=20, tpot_s=0.05)


async def leave(box: Gateway, engine: FakeEngine, *, stream: bool = True) -> float:
    """Cancel the call once the engine works on it; seconds until the engine saw that."""
    call = asyncio.create_task(box.start(make_request(stream=stream)))
    async with asyncio.timeout(2):
        while not engine.running:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    left = monotonic()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    return await seen_after(engine, left)


async def seen_after(engine: FakeEngine, left: float) -> float:
    """Seconds from leaving until the engine saw it."""
    async with asyncio.timeout(2):
        await engine.idle.wait()
    aborted_at = engine.aborted[-1].aborted_at
    assert aborted_at is not None
    return aborted_at - left


async def test_closing_a_stream_frees_the_engine_within_one_chunk(gateway: MakeGateway) -> None:
    """In the best of three: behind a pause of the machine the engine says at once what was due meanwhile."""
    box = await gateway({"small": [STEADY]})
    behind = [await closed_after_three_chunks(box) for _ in range(3)]
    assert min(seconds for seconds, _ in behind) <= SOON_S
    assert min(chunks for _, chunks in behind) <= 1


async def closed_after_three_chunks(box: Gateway) -> tuple[float, int]:
    """Seconds until the engine saw it, and the chunks that it produced meanwhile."""
    answer = await box.start()
    assert answer.stream is not None
    got = b""
    while (count := got.count(b"word ")) < 3:
        got += await anext(answer.stream)
    left, chunks = monotonic(), box.engine().seen[-1].chunks
    await answer.stream.aclose()
    seconds = await seen_after(box.engine(), left)
    assert box.record.attempts[0].outcome == "client_gone"
    assert (box.record.completion_tokens, box.record.tokens_estimated) == (count, True)
    return seconds, box.engine().seen[-1].chunks - chunks


async def test_a_cancelled_read_frees_the_engine(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(fault="stall", after=1)]})
    answer = await box.start()
    assert answer.stream is not None
    await anext(answer.stream)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(answer.stream)
    left = monotonic()
    assert await seen_after(box.engine(), left) <= SOON_S
    assert [part async for part in answer.stream] == []


async def test_a_stream_that_nobody_reads_is_freed_by_closing_it(gateway: MakeGateway) -> None:
    box = await gateway({"small": [STEADY]})
    answer = await box.start()
    assert answer.stream is not None
    left = monotonic()
    await answer.stream.aclose()
    assert await seen_after(box.engine(), left) <= SOON_S
    assert box.client.picker.in_flight == 0


async def test_an_answer_that_is_dropped_unclosed_still_frees_the_engine(gateway: MakeGateway) -> None:
    box = await gateway({"small": [STEADY]})
    answer = await box.start()
    left = monotonic()
    del answer
    assert await seen_after(box.engine(), left) <= SOON_S
    assert [row.outcome for row in box.record.attempts] == ["client_gone"]


@pytest.mark.parametrize(
    ("script", "stream"),
    [(Script(ttft_s=5), True), (Script(fault="silent"), True), (Script(ttft_s=5), False)],
    ids=["before the first chunk", "before the headers", "not streamed"],
)
async def test_leaving_before_the_answer_frees_the_engine(gateway: MakeGateway, script: Script, stream: bool) -> None:
    box = await gateway({"small": [script]})
    assert await leave(box, box.engine(), stream=stream) <= SOON_S
    assert [row.outcome for row in box.record.attempts] == ["client_gone"]


async def test_leaving_during_a_second_attempt_frees_that_engine(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(fault="status")], "large": [Script(ttft_s=5)]})
    assert await leave(box, box.engine("large")) <= SOON_S
    assert [row.outcome for row in box.record.attempts] == ["engine_error", "client_gone"]
    assert len(box.engine().struck) == 1


async def test_leaving_after_done_is_no_leaving(gateway: MakeGateway) -> None:
    box = await gateway()
    answer = await box.start()
    assert answer.stream is not None
    async for part in answer.stream:
        if part.endswith(b"[DONE]\n\n"):
            break
    await answer.stream.aclose()
    assert box.record.attempts[0].outcome == "ok"
    assert (box.record.completion_tokens, box.record.tokens_estimated) == (8, False)


async def test_clients_that_leave_blame_no_replica(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(ttft_s=5)]})
    for _ in range(8):
        await leave(box, box.engine())
    box.engine().script = Script()
    assert (await box.read()).endswith(b"[DONE]\n\n")
    assert len(box.engine().aborted) == 8


async def test_a_hundred_clients_that_leave_together_leave_nothing(gateway: MakeGateway) -> None:
    box = await gateway({"small": [STEADY]})
    answers = await asyncio.gather(*(box.start() for _ in range(100)))
    assert box.client.picker.in_flight == 100
    left = monotonic()
    for answer in answers:
        assert answer.stream is not None
        await answer.stream.aclose()
    assert await seen_after(box.engine(), left) <= 2 * SOON_S
    assert box.client.picker.in_flight == 0

"""Engines that fail, before the first event (another replica, or an HTTP status) and after it (an error frame).

Every test looks at what the fake engine recorded: a fault that did not happen proves nothing.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from models.errors import InvalidRequest, PenstockError, Unavailable
from serving.engines.answer import Answer
from serving.testing import Script

from .conftest import Gateway, MakeGateway, make_plan, make_request

GOOD = Script()


def timers_of(script: Script) -> dict[str, float]:
    """Short ones only for a fault that a timer finds: the others must be found by what the engine says."""
    return {"first_token_s": 0.3, "between_tokens_s": 0.5} if script.fault in ("silent", "stall") else {}


async def start_error(box: Gateway, **changes: object) -> PenstockError:
    """The error that the caller would get as an HTTP status."""
    with pytest.raises(PenstockError) as caught:
        await box.start(make_request(**changes))
    return caught.value


async def read_until_error(answer: Answer) -> tuple[bytes, PenstockError]:
    """What the client got, and the error of the frame that follows it."""
    assert answer.stream is not None
    parts: list[bytes] = []
    async with aclosing(answer.stream) as stream:
        with pytest.raises(PenstockError) as caught:
            parts.extend([part async for part in collecting(stream, parts)])
    return b"".join(parts), caught.value


async def collecting(stream: AsyncIterator[bytes], into: list[bytes]) -> AsyncIterator[bytes]:
    """Keep what came before an error; yields nothing itself."""
    async for part in stream:
        into.append(part)
    if False:
        yield b""


BEFORE_FIRST = [
    (Script(fault="status"), "engine_error"),
    (Script(fault="status", status=502), "upstream_bad_response"),
    (Script(fault="status", status=503), "no_capacity"),
    (Script(fault="html"), "upstream_bad_response"),
    (Script(fault="malformed", after=-1), "upstream_bad_response"),
    (Script(fault="cut", after=-1), "no_capacity"),
    (Script(fault="no_finish", after=-1), "no_capacity"),
    (Script(fault="error_frame", after=-1), "engine_error"),
    (Script(fault="silent"), "upstream_timeout"),
    (Script(fault="stall", after=-1), "upstream_timeout"),
]


@pytest.mark.parametrize(("script", "code"), BEFORE_FIRST)
async def test_a_fault_before_the_first_event_is_a_status(gateway: MakeGateway, script: Script, code: str) -> None:
    box = await gateway({"small": [script]}, **timers_of(script))
    error = await start_error(box)
    assert error.code == code
    assert [struck.fault for struck in box.engine().struck] == [script.fault]
    assert isinstance(error, Unavailable) == (error.retry_after_s is not None)


@pytest.mark.parametrize(("script", "code"), BEFORE_FIRST)
async def test_a_fault_before_the_first_event_is_hidden_by_another_replica(
    gateway: MakeGateway, script: Script, code: str
) -> None:
    box = await gateway({"small": [script, GOOD]}, **timers_of(script))
    while not box.engine().struck:
        text = await box.read()
        assert text.endswith(b"data: [DONE]\n\n")
    assert [struck.pid for struck in box.engine().struck] == [os.getpid()]
    outcomes = [row.outcome for row in box.record.attempts]
    assert len(outcomes) == 2
    assert outcomes[1] == "ok"
    assert len({row.replica for row in box.record.attempts}) == 2


@pytest.mark.parametrize("script", [Script(fault="status"), Script(fault="malformed"), Script(fault="cut")])
async def test_a_whole_body_is_tried_on_another_replica_too(gateway: MakeGateway, script: Script) -> None:
    box = await gateway({"small": [script, GOOD]})
    while not box.engine().struck:
        assert b'"choices"' in await box.read(make_request(stream=False))
    answer = await box.start(make_request(stream=False))
    assert answer.headers["x-penstock-attempts"] == "1", "the suspect is tried last"


MID_STREAM = [
    (Script(fault="cut", after=3, tpot_s=0.01), "upstream_lost"),
    (Script(fault="no_finish", after=3, tpot_s=0.01), "upstream_lost"),
    (Script(fault="malformed", after=3, tpot_s=0.01), "upstream_bad_response"),
    (Script(fault="endless", after=3, tpot_s=0.01), "upstream_bad_response"),
    (Script(fault="error_frame", after=3, tpot_s=0.01), "engine_error"),
    (Script(fault="stall", after=3, tpot_s=0.01), "upstream_stalled"),
]


@pytest.mark.parametrize(("script", "code"), MID_STREAM)
async def test_a_fault_in_the_stream_ends_it_with_its_code_and_no_done(
    gateway: MakeGateway, script: Script, code: str
) -> None:
    box = await gateway({"small": [script], "large": [GOOD]}, **timers_of(script))
    text, error = await read_until_error(await box.start())
    assert error.code == code
    assert text.count(b"word ") == 3, "what came before the fault is delivered"
    assert b"[DONE]" not in text
    assert [struck.fault for struck in box.engine().struck] == [script.fault]
    assert [row.outcome for row in box.record.attempts] == [code]
    assert (box.record.completion_tokens, box.record.tokens_estimated) == (3, True)
    assert box.engine("large").seen == [], "after the first byte no other engine is asked"


async def test_a_line_of_a_hundred_megabytes_costs_no_memory(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(fault="endless", after=0)]})
    before = _fresh_peak_kib()
    _, error = await read_until_error(await box.start())
    assert error.code == "upstream_bad_response"
    assert len(box.engine().struck) == 1
    assert _peak_kib() - before <= 8 * 1024


def _fresh_peak_kib() -> int:
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_kib()


def _peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


async def test_a_stream_that_is_read_slowly_is_no_stalled_engine(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(tokens=4, tpot_s=0.02)]}, between_tokens_s=0.1)
    answer = await box.start()
    assert answer.stream is not None
    await anext(answer.stream)
    await asyncio.sleep(0.3)
    rest = [part async for part in answer.stream]
    assert rest[-1].endswith(b"[DONE]\n\n")


async def test_a_stream_ends_when_the_whole_call_took_too_long(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(tokens=100, tpot_s=0.02)]}, total_s=0.3)
    _, error = await read_until_error(await box.start())
    assert error.code == "upstream_timeout"
    await box.engine().idle.wait()
    assert len(box.engine().aborted) == 1


async def test_a_whole_body_has_the_whole_time_and_no_more(gateway: MakeGateway) -> None:
    slow = await gateway({"small": [Script(ttft_s=0.3), Script(ttft_s=0.3)]}, first_token_s=0.1, total_s=3)
    await slow.read(make_request(stream=False))
    assert [row.outcome for row in slow.record.attempts] == ["ok"]
    silent = await gateway({"small": 2 * [Script(fault="silent")]}, first_token_s=0.1, total_s=0.5)
    assert (await start_error(silent, stream=False)).code == "upstream_timeout"
    assert len(silent.record.attempts) == 1, "no time was left for another attempt"


async def test_the_clients_own_error_is_told_at_once_and_blames_nobody(gateway: MakeGateway) -> None:
    body = {"error": {"message": "temperature must be non-negative", "type": "BadRequestError", "code": 400}}
    refuses = Script(fault="status", status=400, error=body)
    box = await gateway({"small": [refuses, refuses]})
    for _ in range(12):
        error = await start_error(box)
        assert isinstance(error, InvalidRequest)
        assert error.public == "temperature must be non-negative"
        assert len(box.record.attempts) == 1
    assert len(box.engine().struck) + len(box.engine(index=1).struck) == 12


@pytest.mark.parametrize("code", ["overloaded", "server_shutting_down"])
async def test_a_full_door_sends_the_request_on_and_opens_no_breaker(gateway: MakeGateway, code: str) -> None:
    full = Script(fault="status", status=503, error={"error": {"code": code}}, retry_after_s=3)
    box = await gateway({"small": [full]})
    for _ in range(8):
        error = await start_error(box)
        assert (error.code, error.retry_after_s) == (code, 3)
    assert len(box.engine().struck) == 8
    box.engine().script = GOOD
    assert (await box.read()).endswith(b"[DONE]\n\n")


async def test_a_fallback_tier_answers_and_says_so(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(fault="status"), Script(fault="status")], "large": [GOOD]})
    answer = await box.start(make_request(stream=False))
    assert answer.headers["x-penstock-fallback"] == "1"
    assert (answer.headers["x-penstock-model"], answer.headers["x-penstock-attempts"]) == ("large", "3")
    assert (box.record.served_model, box.record.tier) == ("large", "large")
    assert [row.outcome for row in box.record.attempts] == ["engine_error", "engine_error", "ok"]
    assert len(box.engine().struck) == len(box.engine(index=1).struck) == 1


async def test_when_all_fail_the_first_failure_is_told(gateway: MakeGateway) -> None:
    box = await gateway(
        {"small": [Script(fault="status")], "large": [Script(fault="html"), Script(fault="html"), Script(fault="html")]}
    )
    assert (await start_error(box)).code == "engine_error"
    assert [row.outcome for row in box.record.attempts] == ["engine_error"] + 2 * ["upstream_bad_response"]


async def test_no_replica_at_all_is_told_at_once_with_a_time_to_come_back(gateway: MakeGateway) -> None:
    box = await gateway()
    box.directory.base_urls.clear()
    async with asyncio.timeout(0.2):
        error = await start_error(box)
    assert isinstance(error, Unavailable)
    assert (error.code, error.retry_after_s) == ("no_capacity", 2)
    assert box.record.attempts == []


async def test_a_replica_that_refuses_connections_is_passed_over(gateway: MakeGateway) -> None:
    box = await gateway()
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
    closed.close()
    box.directory.base_urls["small"].append(dead)
    outcomes: list[str] = []
    while "upstream_lost" not in outcomes:
        assert (await box.read()).endswith(b"[DONE]\n\n")
        outcomes = [row.outcome for row in box.record.attempts]
    assert outcomes == ["upstream_lost", "ok"]
    box.directory.base_urls["small"] = [dead]
    assert (await start_error(box)).code == "no_capacity"


async def test_a_partition_is_noticed_by_the_connect_timer(gateway: MakeGateway) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        filling = [socket.socket() for _ in range(4)]
        for one in filling:  # a full backlog: further connections get no answer, as behind a dropped route
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        box = await gateway({"large": [GOOD]}, connect_s=0.2)
        box.directory.base_urls["small"] = [f"http://127.0.0.1:{deaf.getsockname()[1]}"]
        box.plan = make_plan("small", "large")
        answer = await box.start(make_request(stream=False))
        for one in filling:
            one.close()
    assert answer.headers["x-penstock-model"] == "large"
    lost, answered = box.record.attempts
    assert (lost.outcome, answered.outcome) == ("upstream_lost", "ok")
    assert 190 <= lost.duration_ms < 1000  # uvloop counts in whole milliseconds


async def test_a_replica_that_always_fails_is_asked_five_times_per_window(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(fault="status")]}, suspect_s=0.2)
    codes = [(await start_error(box)).code for _ in range(50)]
    assert codes == 5 * ["engine_error"] + 45 * ["no_capacity"]
    await asyncio.sleep(0.21)
    codes = [(await start_error(box)).code for _ in range(50)]
    assert codes == ["engine_error"] + 49 * ["no_capacity"], "one probe per window"
    assert len(box.engine().struck) == 6


async def test_beside_a_good_replica_a_failing_one_costs_no_user_an_error(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(fault="status"), GOOD]})
    for _ in range(50):
        assert (await box.read()).endswith(b"[DONE]\n\n")
    assert 1 <= len(box.engine().struck) <= 5


async def test_a_breaker_closes_when_its_replica_is_well_again(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(fault="status", times=5)]}, suspect_s=0.1)
    for _ in range(6):
        await start_error(box)
    assert len(box.engine().struck) == 5
    await asyncio.sleep(0.11)
    for _ in range(10):
        assert (await box.read()).endswith(b"[DONE]\n\n")


async def test_a_slow_replica_is_routed_around_once_both_are_known(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(ttft_s=1.0), GOOD]})
    slow, fast = box.engine(), box.engine(index=1)
    while not (slow.seen and fast.seen):
        await box.read()
    before = len(slow.seen), len(fast.seen)
    for _ in range(10):
        await box.read()
    assert (len(slow.seen), len(fast.seen)) == (before[0], before[1] + 10)

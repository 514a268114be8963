"""Whose fault a failed attempt is: what a request brings on itself opens no breaker and is tried nowhere else."""

import pytest

from models.errors import PenstockError
from serving.engines.attempts import LONGEST_BODY_BYTES
from serving.engines.endpoints import ReplicaState
from serving.engines.events import LONGEST_EVENT_BYTES
from serving.testing import Script

from .conftest import Gateway, MakeGateway, make_request

MIB = 2**20
ENDLESS = Script(fault="endless", after=-1)
UNSUPPORTED = Script(fault="status", status=501)
ENORMOUS = Script(tokens=5, word="x" * (LONGEST_BODY_BYTES // 4))


async def failure(box: Gateway, **changes: object) -> str:
    """The code of the error that ends one call, wherever it comes."""
    with pytest.raises(PenstockError) as caught:
        await box.read(make_request(**changes))
    return caught.value.code


def states(box: Gateway) -> list[ReplicaState]:
    found = [state for replicas in box.client.picker.states().values() for state in replicas.values()]
    assert found
    return found


def blamed(box: Gateway) -> int:
    """Marks against replicas: failures that count towards a breaker, and suspicions."""
    return sum(state.breaker.failures + (state.suspect_until > 0) for state in states(box))


@pytest.mark.parametrize(("script", "stream"), [(ENDLESS, True), (UNSUPPORTED, True), (ENORMOUS, False)])
async def test_what_no_replica_could_answer_blames_none_and_is_asked_once(
    gateway: MakeGateway, script: Script, stream: bool
) -> None:
    box = await gateway({"small": [script, script], "large": [script]})
    assert await failure(box, stream=stream) == "upstream_bad_response"
    assert [row.outcome for row in box.record.attempts] == ["upstream_bad_response"]
    assert sum(len(engine.seen) for engines in box.engines.values() for engine in engines) == 1
    assert blamed(box) == 0


async def test_an_answer_that_cannot_be_read_blames_its_replica_and_is_asked_for_again(gateway: MakeGateway) -> None:
    script = Script(fault="malformed", after=-1)
    box = await gateway({"small": [script, script]})
    assert await failure(box) == "upstream_bad_response"
    assert len(box.record.attempts) == 2
    assert blamed(box) == 4


async def test_one_callers_endless_events_leave_the_replica_open_to_everybody(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(fault="endless", after=2, times=6)]})
    assert [await failure(box) for _ in range(6)] == ["upstream_bad_response"] * 6
    assert len(box.engine().struck) == 6
    assert (await box.read()).endswith(b"[DONE]\n\n")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_healthy_answer_longer_than_a_call_may_be_blames_nobody(gateway: MakeGateway, stream: bool) -> None:
    box = await gateway({"small": [Script(tokens=100, tpot_s=0.02)]}, total_s=0.3)
    assert await failure(box, stream=stream) == "upstream_timeout"
    assert blamed(box) == 0


@pytest.mark.parametrize("after", [-1, 2])
async def test_silence_before_the_first_event_or_after_it_blames_the_replica(gateway: MakeGateway, after: int) -> None:
    box = await gateway({"small": [Script(fault="stall", after=after)]}, first_token_s=0.2, between_tokens_s=0.2)
    assert await failure(box) == ("upstream_timeout" if after < 0 else "upstream_stalled")
    assert blamed(box) == 2


async def test_an_event_that_holds_a_whole_prompts_logprobs_goes_through(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(tokens=1, word="x" * (3 * MIB // 2))]})
    text = await box.read()
    assert text.endswith(b"data: [DONE]\n\n")
    assert 3 * MIB // 2 < len(text) < LONGEST_EVENT_BYTES

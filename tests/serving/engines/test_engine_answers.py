"""What comes through when nothing breaks: bytes, headers, counts."""

import hmac
from typing import Any

import orjson
import pytest

from models.types import Principal
from serving.testing import Script

from .conftest import TOKEN, MakeGateway, make_plan, make_request

KEEPS_TEXT = Principal("key-1", "acme", "ada", "inference", keep_text=True)


async def test_a_stream_is_byte_for_byte_what_the_engine_sent(gateway: MakeGateway) -> None:
    box = await gateway()
    text = await box.read(make_request(include_usage=True))
    assert text == box.engine().seen[0].sent
    assert text.endswith(b"data: [DONE]\n\n")


async def test_a_completion_stream_is_byte_for_byte_what_the_engine_sent(gateway: MakeGateway) -> None:
    box = await gateway()
    text = await box.read(make_request(kind="completion", include_usage=True, body={"prompt": "hi"}))
    assert text == box.engine().seen[0].sent
    assert box.engine().seen[0].path == "/v1/completions"


async def test_only_the_usage_event_is_kept_from_a_client_that_did_not_ask(gateway: MakeGateway) -> None:
    box = await gateway()
    events = (await box.read()).split(b"\n\n")
    sent = box.engine().seen[0].sent.split(b"\n\n")
    missing = [event for event in sent if event not in events]
    assert events == [event for event in sent if event not in missing]
    assert len(missing) == 1
    assert b'"usage"' in missing[0]


async def test_events_arrive_while_the_engine_still_works(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(tokens=3, tpot_s=0.05)]})
    answer = await box.start()
    assert answer.stream is not None
    first = await anext(answer.stream)
    assert box.engine().running == 1
    assert first.startswith(b"data: {")
    assert len([part async for part in answer.stream]) >= 2


async def test_a_whole_body_is_byte_for_byte_what_the_engine_sent(gateway: MakeGateway) -> None:
    box = await gateway()
    body = await box.read(make_request(stream=False))
    assert body == box.engine().seen[0].sent
    assert box.record.completion_tokens == orjson.loads(body)["usage"]["completion_tokens"] == 8
    assert box.record.finish_reason == "stop"


async def test_the_engine_gets_the_card_the_salt_and_our_token(gateway: MakeGateway) -> None:
    box = await gateway()
    request = make_request(body={"temperature": 0.5, "stream_options": {"include_usage": False}}, traceparent="00-ab")
    await box.read(request)
    seen = box.engine().seen[0]
    salt = hmac.digest(b"salt", b"acme", "sha256").hex()
    ours = {"model": "small", "cache_salt": salt, "stream_options": {"include_usage": True}}
    assert seen.body == {**request.body, **ours}
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert (seen.headers["x-request-id"], seen.headers["traceparent"]) == ("req-1", "00-ab")
    assert request.body["model"] == "auto"


@pytest.mark.parametrize(
    ("changes", "generations"),
    [
        ({}, "1"),
        ({"n": 8}, "8"),
        ({"kind": "completion", "body": {"prompt": "hi"}}, "1"),
        ({"kind": "completion", "body": {"prompt": [5, 6, 7]}}, "1"),
        ({"kind": "completion", "n": 2, "body": {"prompt": [[5, 6], [7]]}}, "4"),
        ({"kind": "completion", "n": 8, "body": {"prompt": ["hi"] * 1024}}, "8192"),
    ],
)
async def test_the_door_is_told_how_many_generations_a_request_is(
    gateway: MakeGateway, changes: dict[str, Any], generations: str
) -> None:
    box = await gateway()
    await box.read(make_request(**changes))
    assert box.engine().seen[0].headers["x-penstock-generations"] == generations


async def test_orgs_do_not_share_a_cache_salt_and_users_of_one_org_do(gateway: MakeGateway) -> None:
    box = await gateway()
    for org, user in (("acme", "ada"), ("acme", "bob"), ("other", "ada")):
        await box.read(caller=Principal("key", org, user, "inference"))
    ada, bob, other = (seen.body["cache_salt"] for seen in box.engine().seen)
    assert ada == bob
    assert ada != other


async def test_the_headers_tell_model_tier_route_and_attempts(gateway: MakeGateway) -> None:
    box = await gateway()
    for stream in (True, False):
        answer = await box.start(make_request(stream=stream))
        assert answer.headers == {
            "x-penstock-model": "small",
            "x-penstock-tier": "small",
            "x-penstock-route": "static:by order",
            "x-penstock-attempts": "1",
        }
        if answer.stream:
            await answer.stream.aclose()


async def test_the_record_tells_tokens_times_and_the_attempt(gateway: MakeGateway) -> None:
    box = await gateway({"small": [Script(ttft_s=0.5)]})
    await box.read()
    record = box.record
    assert (record.prompt_tokens, record.completion_tokens, record.tokens_estimated) == (7, 8, False)
    assert (record.served_model, record.tier, record.finish_reason) == ("small", "small", "stop")
    assert record.ttft_ms is not None
    assert record.stages_ms["engine_accepted"] < 500 <= record.stages_ms["first_token"] <= record.ttft_ms
    (row,) = record.attempts
    assert (row.card, row.outcome) == ("small", "ok")
    assert row.duration_ms >= record.stages_ms["first_token"]


async def test_text_is_kept_only_for_an_org_that_opted_in(gateway: MakeGateway) -> None:
    box = await gateway()
    for request in (make_request(), make_request(stream=False)):
        await box.read(request)
        assert (box.record.prompt_text, box.record.answer_text) == (None, None)
        await box.read(request, KEEPS_TEXT)
        assert (box.record.prompt_text, box.record.answer_text) == ("hi", "word " * 8)


async def test_every_choice_of_several_must_finish_before_the_stream_does(gateway: MakeGateway) -> None:
    box = await gateway()
    text = await box.read(make_request(n=2, body={"n": 2}))
    assert text.endswith(b"data: [DONE]\n\n")
    assert box.record.completion_tokens == 16


async def test_streams_one_after_the_other_share_one_connection(gateway: MakeGateway) -> None:
    box = await gateway()
    for request in (make_request(), make_request(stream=False), make_request()):
        await box.read(request)
    assert len({seen.connection for seen in box.engine().seen}) == 1
    assert len(box.engine().seen) == 3


async def test_a_body_of_megabytes_reaches_the_engine(gateway: MakeGateway) -> None:
    box = await gateway()
    await box.read(make_request(body={"messages": [{"role": "user", "content": "x" * 3 * 2**20}]}))
    assert len(box.engine().seen[0].body["messages"][0]["content"]) == 3 * 2**20


async def test_route_text_becomes_a_header_that_cannot_break_out(gateway: MakeGateway) -> None:
    box = await gateway()
    plan = make_plan("small")
    object.__setattr__(plan.route, "reason", "düster\r\nx-evil: 1" + "y" * 200)
    box.plan = plan
    answer = await box.start(make_request(stream=False))
    assert answer.headers["x-penstock-route"].startswith("static:d?ster x-evil: 1yy")
    assert len(answer.headers["x-penstock-route"]) == 120

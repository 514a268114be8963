"""POST /v1/router/explain and GET /v1/router/status on the wire, and the header that names a conversation."""

from typing import Any

import pytest

from tests.serving.api.fakes import CHAT, PRINCIPALS, Stack, assert_error

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": MESSAGES}, {"text": "hi", "model": "auto", "kind": "chat", "role": "inference"}),
        ({"prompt": "hi"}, {"text": "hi", "model": "auto", "kind": "completion", "role": "inference"}),
        (
            {"model": "demo-small", "messages": MESSAGES},
            {"text": "hi", "model": "demo-small", "kind": "chat", "role": "inference"},
        ),
    ],
)
async def test_a_chat_or_a_completion_is_explained_and_nothing_is_generated_or_recorded(
    stack: Stack, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    async with stack.client() as client:
        answer = await client.post("/v1/router/explain", json=body)
    assert (answer.status_code, answer.json()) == (200, expected)
    assert stack.pipeline.requests == []
    assert stack.records.rows == []


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 400, "missing_required_parameter", "messages"),
        ({"messages": MESSAGES, "prompt": "hi"}, 400, "invalid_value", "prompt"),
        ({"messages": MESSAGES, "temperatur": 1}, 400, "unknown_parameter", "temperatur"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"messages": MESSAGES, "model": "gpt"}, 404, "model_not_found", "model"),
    ],
)
async def test_what_could_not_be_sent_cannot_be_explained(
    stack: Stack, body: dict[str, Any], status: int, code: str, param: str
) -> None:
    async with stack.client() as client:
        assert_error(await client.post("/v1/router/explain", json=body), status, code, param)


async def test_a_key_gets_no_explanation_of_a_model_that_it_cannot_use(stack: Stack) -> None:
    async with stack.client("narrow") as client:
        answer = await client.post("/v1/router/explain", json={"messages": MESSAGES})
    assert_error(answer, 404, "model_not_found", "model")


@pytest.mark.parametrize(
    ("headers", "session"),
    [
        ({}, None),
        ({"x-penstock-session": "talk-1"}, "talk-1"),
        ({"x-session-id": "talk-2"}, "talk-2"),
        ({"x-session-id": "talk-2", "x-penstock-session": "talk-1"}, "talk-1"),
        ({"x-session-id": "Ann's laptop 3"}, None),
    ],
)
async def test_a_header_names_the_conversation(stack: Stack, headers: dict[str, str], session: str | None) -> None:
    async with stack.client() as client:
        assert (await client.post("/v1/chat/completions", json=CHAT, headers=headers)).status_code == 200
    assert stack.pipeline.requests[0].session == session


@pytest.mark.parametrize("value", [b"two words", b"x" * 257, "ümlaut".encode()])
async def test_a_conversation_with_an_impossible_name_is_refused(stack: Stack, value: bytes) -> None:
    async with stack.client() as client:
        answer = await client.post("/v1/chat/completions", json=CHAT, headers={b"x-penstock-session": value})
    assert_error(answer, 400, "invalid_value", "x-penstock-session")


async def test_explanations_count_against_the_keys_concurrency(stack: Stack) -> None:
    with stack.limiter.hold(PRINCIPALS["one"]):
        async with stack.client("one") as client:
            answer = await client.post("/v1/router/explain", json={"messages": MESSAGES})
    assert_error(answer, 429, "rate_limit_exceeded")

"""The official OpenAI SDK, unpatched, against the HTTP layer on a real port: answers, streams and error classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

from models.errors import InvalidRequest, PenstockError, RateLimited, Unavailable, UpstreamError
from models.types import GenerationRequest
from serving.engines.answer import Answer
from tests.serving.api.fakes import Stack, event

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


@asynccontextmanager
async def sdk(stack: Stack, *, key: str = "good", retries: int = 0) -> AsyncIterator[AsyncOpenAI]:
    async with (
        stack.served() as port,
        AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=retries) as client,
    ):
        yield client


async def test_the_sdk_lists_chats_and_streams(stack: Stack) -> None:
    async with sdk(stack) as client:
        assert [model.id async for model in client.models.list()] == ["auto", "demo-small", "demo-large"]
        answer = await client.chat.completions.create(model="auto", messages=MESSAGES)
        assert answer.choices[0].message.content == "hello"
        stream = await client.chat.completions.create(model="auto", messages=MESSAGES, stream=True)
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["hello"]
    assert [row.status for row in stack.records.rows] == [200, 200]


FAILURES = [
    (InvalidRequest("x", code="context_length_exceeded"), openai.BadRequestError, 1),
    (RateLimited("x", retry_after_s=1), openai.RateLimitError, 2),
    (RateLimited("x", code="insufficient_quota"), openai.RateLimitError, 1),
    (Unavailable("x", retry_after_s=1), openai.InternalServerError, 2),
    (UpstreamError("x", code="upstream_bad_response"), openai.InternalServerError, 2),
    (UpstreamError("x", code="upstream_timeout"), openai.InternalServerError, 2),
]


@pytest.mark.parametrize(("error", "raised", "calls"), FAILURES, ids=lambda value: getattr(value, "code", ""))
async def test_the_sdk_raises_the_class_and_retries_what_can_be_retried(
    stack: Stack, error: PenstockError, raised: type[openai.APIStatusError], calls: int
) -> None:
    async def fail(request: GenerationRequest) -> Answer:
        raise error

    stack.pipeline.script = fail
    async with sdk(stack, retries=1) as client:
        with pytest.raises(raised) as caught:
            await client.chat.completions.create(model="auto", messages=MESSAGES)
    assert caught.value.code == error.code
    assert len(stack.pipeline.requests) == calls


async def test_the_sdk_raises_what_the_edge_refuses(stack: Stack) -> None:
    async with sdk(stack) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="nope", messages=MESSAGES)
        with pytest.raises(openai.BadRequestError) as unknown:
            await client.chat.completions.create(model="auto", messages=MESSAGES, extra_body={"cache_salt": "x"})
    assert (missing.value.code, unknown.value.code, unknown.value.param) == (
        *("model_not_found", "unknown_parameter", "cache_salt"),
    )


@pytest.mark.parametrize(
    ("key", "raised"), [("bad", openai.AuthenticationError), ("scraper", openai.PermissionDeniedError)]
)
async def test_the_sdk_raises_what_a_key_may_not(stack: Stack, key: str, raised: type[openai.APIStatusError]) -> None:
    async with sdk(stack, key=key) as client:
        with pytest.raises(raised):
            await client.models.list()


async def test_the_sdk_raises_on_a_stream_that_breaks_off(stack: Stack) -> None:
    async def breaking() -> AsyncGenerator[bytes, None]:
        yield event()
        raise UpstreamError("x", code="upstream_lost")

    stack.pipeline.streams(breaking)
    async with sdk(stack) as client:
        stream = await client.chat.completions.create(model="auto", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIError) as caught:
            _ = [chunk async for chunk in stream]
    assert (caught.value.code, caught.value.type) == ("upstream_lost", "server_error")


async def test_the_sdk_that_closes_its_stream_frees_the_engine(stack: Stack) -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield event()

    stack.pipeline.streams(endless)
    async with sdk(stack) as client:
        stream = await client.chat.completions.create(model="auto", messages=MESSAGES, stream=True)
        async for _ in stream:
            break
        await stream.close()
    assert stack.pipeline.closed == 1
    assert stack.records.rows[0].client_gone

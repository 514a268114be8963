"""Every field that the installed OpenAI SDK can send is taken, or refused as not supported: none is unknown."""

from typing import Any, get_type_hints

import pytest
from openai.types import completion_create_params as completion_params
from openai.types.chat import completion_create_params as chat_params
from openai.types.chat.chat_completion_content_part_text_param import ChatCompletionContentPartTextParam
from openai.types.chat.chat_completion_stream_options_param import ChatCompletionStreamOptionsParam

from models.types import GenerationRequest
from tests.serving.api.fakes import CHAT, COMPLETION, Stack, assert_error

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
SHARED: dict[str, Any] = {
    **{"model": "auto", "frequency_penalty": 0, "logit_bias": {"5": 1}, "max_tokens": 5, "n": 1, "presence_penalty": 0},
    **{"seed": 1, "stop": "x", "stream": True, "stream_options": {"include_usage": True}, "temperature": 0, "top_p": 1},
    "user": "u",
}
CHAT_TAKEN = SHARED | {
    **{"messages": CHAT["messages"], "logprobs": True, "max_completion_tokens": 5, "metadata": {"k": "v"}},
    **{"modalities": ["text"], "parallel_tool_calls": True, "reasoning_effort": "max", "top_logprobs": 2},
    **{"response_format": {"type": "text"}, "service_tier": "auto", "store": False, "tools": [TOOL]},
    **{"prompt_cache_key": "k", "prompt_cache_retention": "24h", "safety_identifier": "s", "tool_choice": "auto"},
    "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
}
COMPLETION_TAKEN = SHARED | {"prompt": "hi", "best_of": 1, "echo": True, "logprobs": 1}
CHAT_REFUSED: dict[str, Any] = {
    **{"audio": {"format": "mp3", "voice": "alloy"}, "function_call": "none", "functions": [{"name": "f"}]},
    **{"moderation": {"model": "m"}, "prediction": {"type": "content", "content": "x"}, "verbosity": "low"},
    "web_search_options": {},
}
COMPLETION_REFUSED = {"suffix": "x"}
NEVER_FORWARDED = ("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier", "store")


def fields(module: Any) -> set[str]:
    """What the SDK's `create` takes, streaming or not."""
    return {
        name
        for params in (module.CompletionCreateParamsNonStreaming, module.CompletionCreateParamsStreaming)
        for name in get_type_hints(params)
    }


async def taken(stack: Stack, path: str, body: dict[str, Any]) -> GenerationRequest:
    async with stack.client() as client:
        response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    return stack.pipeline.requests[-1]


def test_each_field_of_the_sdk_is_on_exactly_one_side() -> None:
    assert len(fields(chat_params)) >= 35
    assert fields(chat_params) == CHAT_TAKEN.keys() | CHAT_REFUSED.keys()
    assert fields(completion_params) == COMPLETION_TAKEN.keys() | COMPLETION_REFUSED.keys()
    assert not CHAT_TAKEN.keys() & CHAT_REFUSED.keys()


async def test_all_fields_that_are_taken_are_taken_together(stack: Stack) -> None:
    request = await taken(stack, "/v1/chat/completions", CHAT_TAKEN)
    assert not set(NEVER_FORWARDED) & set(request.body)
    await taken(stack, "/v1/completions", COMPLETION_TAKEN)


@pytest.mark.parametrize("field", [*CHAT_REFUSED, *COMPLETION_REFUSED])
async def test_a_field_that_nothing_here_honours_is_refused_in_these_words(stack: Stack, field: str) -> None:
    path, body = ("/v1/chat/completions", CHAT) if field in CHAT_REFUSED else ("/v1/completions", COMPLETION)
    async with stack.client() as client:
        response = await client.post(path, json=body | {field: (CHAT_REFUSED | COMPLETION_REFUSED)[field]})
    assert_error(response, 400, "invalid_value", field)
    assert "not supported here" in response.json()["error"]["message"]
    assert stack.pipeline.requests == []


async def test_null_is_no_wish_for_any_of_them(stack: Stack) -> None:
    await taken(stack, "/v1/chat/completions", CHAT | dict.fromkeys(CHAT_REFUSED))
    await taken(stack, "/v1/completions", COMPLETION | dict.fromkeys(COMPLETION_REFUSED))


async def test_a_wish_to_store_is_refused_because_no_answer_is_kept(stack: Stack) -> None:
    async with stack.client() as client:
        response = await client.post("/v1/chat/completions", json=CHAT | {"store": True})
    assert_error(response, 400, "invalid_value", "store")
    assert "no answer is kept here" in response.json()["error"]["message"]


async def test_every_stream_option_of_the_sdk_is_taken(stack: Stack) -> None:
    options = dict.fromkeys(get_type_hints(ChatCompletionStreamOptionsParam), True)
    assert options.keys() == {"include_usage", "include_obfuscation"}
    request = await taken(stack, "/v1/chat/completions", CHAT | {"stream": True, "stream_options": options})
    assert request.include_usage


async def test_no_member_of_a_text_part_is_unknown(stack: Stack) -> None:
    part = {"type": "text", "text": "hi", "prompt_cache_breakpoint": {"mode": "explicit"}}
    assert get_type_hints(ChatCompletionContentPartTextParam).keys() == part.keys()
    async with stack.client() as client:
        response = await client.post(
            "/v1/chat/completions", json=CHAT | {"messages": [{"role": "user", "content": [part]}]}
        )
    assert_error(response, 400, "invalid_value", "messages[0].content[0].prompt_cache_breakpoint")


WRONG: dict[str, Any] = {
    "prompt_cache_key": 5,
    "prompt_cache_retention": "1h",
    "prompt_cache_options": {"mode": "off"},
    "safety_identifier": ["x"],
    "stream_options": {"include_obfuscation": "no"},
}


@pytest.mark.parametrize("field", WRONG)
async def test_what_is_ignored_is_still_checked(stack: Stack, field: str) -> None:
    async with stack.client() as client:
        response = await client.post("/v1/chat/completions", json=CHAT | {"stream": True, field: WRONG[field]})
    assert response.json()["error"]["param"].startswith(field)
    assert response.json()["error"]["code"] == "invalid_value"


@pytest.mark.parametrize(
    ("prompts", "n", "good"),
    [(["x"] * 128, 8, True), (["x"] * 129, 8, False), ([[1, 2]] * 1024, 2, False), (list(range(1, 1025)), 8, True)],
    ids=["at-the-bound", "above", "token-ids", "one-prompt-of-many-ids"],
)
async def test_prompts_times_choices_have_a_bound(stack: Stack, prompts: list[Any], n: int, good: bool) -> None:
    async with stack.client() as client:
        response = await client.post("/v1/completions", json=COMPLETION | {"prompt": prompts, "n": n})
    if good:
        assert response.status_code == 200
    else:
        assert_error(response, 400, "invalid_value", "n")

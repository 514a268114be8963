"""The promise of the first page: the SDK that services already have, with another base_url."""

from __future__ import annotations

import json

import jsonschema
import openai
import pytest
from openai import OpenAI

from tests.e2e.conftest import Stack
from tests.e2e.test_learned_router import READ_WITHIN

ORDER_TEXT = "Anna Keller from North Haven asked for 12 oak lamps."
HELLO = [{"role": "user", "content": "Hello, who are you?"}]
ORDER = {
    "type": "object",
    "properties": {"item": {"enum": ["lamp", "desk"]}, "quantity": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["item", "quantity"],
    "additionalProperties": False,
}


def test_the_models_are_listed_with_auto_first(client: OpenAI) -> None:
    models = client.models.list().data
    assert [model.id for model in models] == ["auto", "demo-small", "demo-large"]
    assert client.models.retrieve("demo-large").id == "demo-large"


def test_a_chat_is_answered_and_counted(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="demo-large", messages=HELLO, temperature=0)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="demo-large", messages=HELLO, temperature=0)
    with client.chat.completions.create(model="demo-large", messages=HELLO, temperature=0, stream=True) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_usage_comes_in_the_last_chunk_only_when_asked_for(client: OpenAI) -> None:
    options = {"model": "demo-small", "messages": HELLO, "stream": True, "temperature": 0}
    plain = list(client.chat.completions.create(**options))
    counted = list(client.chat.completions.create(**options, stream_options={"include_usage": True}))
    assert all(chunk.usage is None for chunk in plain)
    assert counted[-1].choices == []
    assert counted[-1].usage is not None
    assert counted[-1].usage.completion_tokens > 0


def test_a_completion_goes_on_with_the_prompt(client: OpenAI) -> None:
    answer = client.completions.create(model="demo-small", prompt="The total is", max_tokens=4, temperature=0)
    assert answer.usage is not None
    assert 1 <= answer.usage.completion_tokens <= 4


def test_a_json_schema_answer_validates(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo-large",
        messages=[{"role": "user", "content": "Two lamps, please."}],
        response_format={"type": "json_schema", "json_schema": {"name": "order", "schema": ORDER, "strict": True}},
        max_tokens=64,
    )
    jsonschema.validate(json.loads(answer.choices[0].message.content or ""), ORDER)


def test_a_json_object_answer_is_json(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo-large",
        messages=[{"role": "user", "content": f"{ORDER_TEXT} Give me the order as JSON."}],
        response_format={"type": "json_object"},
        max_tokens=200,
        temperature=0,
    )
    assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "order"}}])
def test_a_tool_is_called_with_arguments_that_validate(client: OpenAI, choice: str | dict[str, object]) -> None:
    tools = [{"type": "function", "function": {"name": "order", "description": "Orders.", "parameters": ORDER}}]
    options = {"model": "demo-large", "messages": HELLO, "max_tokens": 200, "temperature": 0}
    answer = client.chat.completions.create(**options, tools=tools, tool_choice=choice)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.function.name == "order"
    jsonschema.validate(json.loads(call.function.arguments), ORDER)


def test_an_answer_ends_where_it_was_told_to_stop(client: OpenAI) -> None:
    options = {"model": "demo-large", "messages": HELLO, "temperature": 0}
    whole = client.chat.completions.create(**options).choices[0].message.content or ""
    stopped = client.chat.completions.create(**options, stop=whole.split()[1]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == (whole.split()[0] + " ", "stop")


def test_a_forbidden_token_is_not_said(client: OpenAI) -> None:
    options = {"model": "demo-large", "messages": HELLO, "max_tokens": 3, "temperature": 0}
    first = client.chat.completions.create(**options, logprobs=True).choices[0]
    assert first.finish_reason == "length"
    banned = client.chat.completions.create(**options, logit_bias={"1": 100}).choices[0]
    assert (banned.message.content, banned.finish_reason) == ("", "stop")


def test_several_streamed_choices_come_to_an_end_each(client: OpenAI) -> None:
    stream = client.chat.completions.create(model="demo-small", messages=HELLO, n=3, stream=True, temperature=1.0)
    ends = [choice for chunk in stream for choice in chunk.choices if choice.finish_reason]
    assert sorted(choice.index for choice in ends) == [0, 1, 2]


def test_several_choices_seed_and_logprobs_are_served(client: OpenAI) -> None:
    options = {"model": "demo-small", "messages": HELLO, "max_tokens": 8, "temperature": 1.0, "seed": 7}
    first = client.chat.completions.create(**options, n=2, logprobs=True, top_logprobs=3)
    again = client.chat.completions.create(**options, n=2)
    assert [choice.index for choice in first.choices] == [0, 1]
    assert [choice.message.content for choice in first.choices] == [c.message.content for c in again.choices]
    assert len(first.choices[0].logprobs.content[0].top_logprobs) == 3


def test_auto_names_the_tier_and_the_reason(client: OpenAI) -> None:
    for _ in range(READ_WITHIN):
        raw = client.chat.completions.with_raw_response.create(model="auto", messages=HELLO, max_tokens=4)
        if raw.headers["x-penstock-route"] != "default":  # as the classifier had no turn in time
            break
    assert raw.headers["x-penstock-tier"] in ("small", "large")
    assert raw.headers["x-penstock-route"].startswith("learned:gain ")
    assert raw.parse().model == raw.headers["x-penstock-model"]


@pytest.mark.parametrize(
    ("error", "status", "code", "options"),
    [
        (openai.NotFoundError, 404, "model_not_found", {"model": "gpt-4"}),
        (openai.BadRequestError, 400, "invalid_value", {"temperature": 3.0}),
        (openai.BadRequestError, 400, "context_length_exceeded", {"max_tokens": 1_000_000}),
        (openai.BadRequestError, 400, "unknown_parameter", {"extra_body": {"chat_template": "x"}}),
        (openai.APIStatusError, 413, "request_too_large", {"messages": [{"role": "user", "content": "x" * 5 * 2**20}]}),
    ],
)
def test_each_mistake_is_an_error_of_its_class(
    client: OpenAI, error: type[openai.APIStatusError], status: int, code: str, options: dict[str, object]
) -> None:
    request = {"model": "demo-small", "messages": HELLO, **options}
    with pytest.raises(error) as caught:
        client.chat.completions.create(**request)  # type: ignore[call-overload]
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert caught.value.type == "invalid_request_error"


def test_a_wrong_key_is_an_authentication_error(client: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key="sk-penstock-wrong").models.list()
    assert caught.value.code == "invalid_api_key"


def test_a_key_for_metrics_is_not_for_answers(stack: Stack, client: OpenAI) -> None:
    metrics = stack.new_key("--org", "ops", "--user", "prometheus", "--role", "metrics")
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.with_options(api_key=metrics).chat.completions.create(model="demo-small", messages=HELLO)
    assert (caught.value.code, caught.value.type) == ("insufficient_permissions", "permission_error")

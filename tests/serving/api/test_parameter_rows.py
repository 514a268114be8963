"""Rows P and M: fields and model names of generation requests. The id of each case is the row's name."""

from collections.abc import MutableMapping
from typing import Any

import pytest

from models.types import GenerationRequest
from serving.telemetry.log import log_call
from tests.serving.api.fakes import CHAT, COMPLETION, Stack, assert_error, processor_time

NAN_FREE_BIG = 10**30

CHAT_ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "P1-low": ({"temperature": -0.1}, "invalid_value", "temperature"),
    "P1-high": ({"temperature": 2.1}, "invalid_value", "temperature"),
    "P2": ({"temperature": "0.5"}, "invalid_value", "temperature"),
    "P2-bool": ({"temperature": True}, "invalid_value", "temperature"),
    "P3-zero": ({"top_p": 0}, "invalid_value", "top_p"),
    "P3-high": ({"top_p": 1.0001}, "invalid_value", "top_p"),
    "P4-zero": ({"n": 0}, "invalid_value", "n"),
    "P4-negative": ({"n": -1}, "invalid_value", "n"),
    "P4-nine": ({"n": 9}, "invalid_value", "n"),
    "P5-bool": ({"n": True}, "invalid_value", "n"),
    "P5-string": ({"n": "1"}, "invalid_value", "n"),
    "P5-float": ({"n": 1.0}, "invalid_value", "n"),
    "P7": ({"max_tokens": 2**63}, "invalid_value", "max_tokens"),
    "P7-zero": ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    "P7-newer": ({"max_completion_tokens": -1}, "invalid_value", "max_completion_tokens"),
    "P7-both": ({"max_completion_tokens": 5, "max_tokens": 6}, "invalid_value", "max_tokens"),
    "P10-five": ({"stop": list("abcde")}, "invalid_value", "stop"),
    "P10-empty": ({"stop": ""}, "invalid_value", "stop"),
    "P10-empty-item": ({"stop": [""]}, "invalid_value", "stop"),
    "P10-long": ({"stop": "x" * 257}, "invalid_value", "stop"),
    "P10-number": ({"stop": [1]}, "invalid_value", "stop"),
    "P11-top_logprobs": ({"logprobs": True, "top_logprobs": 21}, "invalid_value", "top_logprobs"),
    "P11-alone": ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
    "P12-logit_bias": ({"logit_bias": {"5": 101}}, "invalid_value", "logit_bias"),
    "P12-key": ({"logit_bias": {"five": 1}}, "invalid_value", "logit_bias"),
    "P12-many": ({"logit_bias": {str(i): 1 for i in range(1025)}}, "invalid_value", "logit_bias"),
    "P13-top_k": ({"top_k": 1.5}, "invalid_value", "top_k"),
    "P13-min_p": ({"min_p": 1.1}, "invalid_value", "min_p"),
    "P14": ({"prompt_logprobs": 20, "stream": True}, "unknown_parameter", "prompt_logprobs"),
    "P15-presence": ({"presence_penalty": 2.1}, "invalid_value", "presence_penalty"),
    "P15-frequency": ({"frequency_penalty": -2.1}, "invalid_value", "frequency_penalty"),
    "P15-repetition": ({"repetition_penalty": 0}, "invalid_value", "repetition_penalty"),
    "P16-big": ({"seed": 1e30}, "invalid_value", "seed"),
    "P16-int": ({"seed": NAN_FREE_BIG}, "invalid_value", "seed"),
    "P16-string": ({"seed": "x"}, "invalid_value", "seed"),
    "P17-string": ({"stream": "yes"}, "invalid_value", "stream"),
    "P17-one": ({"stream": 1}, "invalid_value", "stream"),
    "P18-options": ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
    "P18-inside": ({"stream": True, "stream_options": {"x": 1}}, "unknown_parameter", "stream_options.x"),
    "P20-many": ({"metadata": {str(i): "x" for i in range(17)}}, "invalid_value", "metadata"),
    "P20-key": ({"metadata": {"k" * 65: "x"}}, "invalid_value", "metadata"),
    "P20-value": ({"metadata": {"k": "x" * 513}}, "invalid_value", "metadata"),
    "P20-nested": ({"metadata": {"k": {}}}, "invalid_value", "metadata"),
    "P21-user": ({"user": 5}, "invalid_value", "user"),
    "P22-functions": ({"functions": 1}, "invalid_value", "functions"),
    "P24": ({"service_tier": "x"}, "invalid_value", "service_tier"),
    "P24-store": ({"store": True}, "invalid_value", "store"),
    "P24-modalities": ({"modalities": ["text", "audio"]}, "invalid_value", "modalities"),
    "P24-effort": ({"reasoning_effort": "extreme"}, "invalid_value", "reasoning_effort"),
    "ours-subkey": ({"penstock": {"prompt": "x"}}, "unknown_parameter", "penstock.prompt"),
    "ours-tier": ({"penstock": {"tier": "huge"}}, "invalid_value", "penstock.tier"),
    "ours-feature": ({"penstock": {"feature": "a b"}}, "invalid_value", "penstock.feature"),
    "ours-type": ({"penstock": []}, "invalid_value", "penstock"),
}
UNKNOWN = [
    *("chat_template", "chat_template_kwargs", "add_generation_prompt", "documents", "guided_regex", "guided_grammar"),
    *("cache_salt", "priority", "lora_request", "kv_transfer_params", "prompt_embeds", "request_id"),
    *("echo", "prompt", "ignore_eos", "min_tokens", "vllm_xargs", "mm_processor_kwargs", "use_beam_search"),
]
for name in UNKNOWN:
    CHAT_ROWS[f"P22-{name}"] = ({name: 1}, "unknown_parameter", name)

COMPLETION_ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "P25": ({"n": 2, "best_of": 1}, "invalid_value", "best_of"),
    "P26-empty": ({"prompt": []}, "invalid_value", "prompt"),
    "P26-text": ({"prompt": ""}, "invalid_value", "prompt"),
    "P26-item": ({"prompt": [""]}, "invalid_value", "prompt"),
    "P26-ids": ({"prompt": [[]]}, "invalid_value", "prompt"),
    "P26-missing": ({"prompt": None}, "missing_required_parameter", "prompt"),
    "P26-object": ({"prompt": {}}, "invalid_value", "prompt"),
    "P27-negative": ({"prompt": [[-1]]}, "invalid_value", "prompt"),
    "P27-beyond": ({"prompt": [[999999999]]}, "invalid_value", "prompt"),
    "P27-float": ({"prompt": [[1.5]]}, "invalid_value", "prompt"),
    "P27-mixed": ({"prompt": [[1, "a"]]}, "invalid_value", "prompt"),
    "P27-flat": ({"prompt": [1, "a"]}, "invalid_value", "prompt"),
    "P27-bool": ({"prompt": [True]}, "invalid_value", "prompt"),
    "P27-kinds": ({"prompt": ["a", [1]]}, "invalid_value", "prompt"),
    "P28": ({"prompt": ["x"] * 1025}, "invalid_value", "prompt"),
    "P29-no-echo": ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    "logprobs": ({"logprobs": 21}, "invalid_value", "logprobs"),
    "logprobs-bool": ({"logprobs": True}, "invalid_value", "logprobs"),
    "suffix": ({"suffix": "x"}, "invalid_value", "suffix"),
    "messages": ({"messages": []}, "unknown_parameter", "messages"),
}


@pytest.mark.parametrize("row", CHAT_ROWS)
async def test_a_bad_chat_field_is_named(stack: Stack, row: str) -> None:
    fields, code, param = CHAT_ROWS[row]
    async with stack.client() as client:
        stack.assert_refused(await client.post("/v1/chat/completions", json=CHAT | fields), 400, code, param)


@pytest.mark.parametrize("row", COMPLETION_ROWS)
async def test_a_bad_completion_field_is_named(stack: Stack, row: str) -> None:
    fields, code, param = COMPLETION_ROWS[row]
    async with stack.client() as client:
        stack.assert_refused(await client.post("/v1/completions", json=COMPLETION | fields), 400, code, param)


GOOD_CHAT: dict[str, Any] = {
    **{"temperature": 0, "top_p": 1, "n": 8, "max_completion_tokens": 5, "stop": ["a", "b", "c", "d"], "seed": -1},
    **{"presence_penalty": 2, "frequency_penalty": -2.0, "repetition_penalty": 1.1, "top_k": -1, "min_p": 0},
    **{"logit_bias": {"5": -100}, "logprobs": True, "top_logprobs": 20, "stream": True, "reasoning_effort": "low"},
    **{"stream_options": {"include_usage": True}, "parallel_tool_calls": True, "max_tokens": None},
    **{"metadata": {"k": "v"}, "service_tier": "auto", "store": False, "modalities": ["text"], "user": "u"},
    **{"penstock": {"feature": "search", "tier": "small"}},
}


async def sent(stack: Stack, path: str, body: dict[str, Any]) -> GenerationRequest:
    async with stack.client() as client:
        response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    return stack.pipeline.requests[-1]


async def test_every_documented_chat_field_is_taken(stack: Stack) -> None:
    request = await sent(stack, "/v1/chat/completions", CHAT | GOOD_CHAT)
    assert (request.n, request.stream, request.include_usage) == (8, True, True)
    assert (request.tier, request.feature, request.metadata) == ("small", "search", {"k": "v"})
    assert request.text == "hi"


async def test_the_engine_never_sees_our_fields_or_nulls(stack: Stack) -> None:
    request = await sent(stack, "/v1/chat/completions", CHAT | GOOD_CHAT)
    ours = {"metadata", "service_tier", "store", "modalities", "user", "penstock", "max_tokens"}
    assert set(request.body) == set(CHAT | GOOD_CHAT) - ours
    assert all(request.body[name] == (CHAT | GOOD_CHAT)[name] for name in request.body)


@pytest.mark.parametrize(
    ("prompt", "text"),
    [("hi", "hi"), (["a", "b"], "a\nb"), ([1, 2], ""), ([[1], [2, 3]], ""), (["x"] * 1024, "\n".join(["x"] * 1024))],
)
async def test_every_form_of_prompt_is_taken(stack: Stack, prompt: Any, text: str) -> None:
    request = await sent(stack, "/v1/completions", {"model": "auto", "prompt": prompt})
    assert request.body["prompt"] == prompt
    assert (request.kind, request.text) == ("completion", text)


ECHO = {"echo": True, "max_tokens": 0, "logprobs": 5}


async def test_an_echo_of_the_prompt_alone_is_taken(stack: Stack) -> None:
    request = await sent(stack, "/v1/completions", COMPLETION | ECHO)
    assert request.body["max_tokens"] == 0


@pytest.mark.parametrize("prompt", ["word " * 100_000, [[5] * 100_000], ["word " * 100] * 1000])
async def test_p29_an_echo_of_a_huge_prompt_is_passed_on_once(stack: Stack, prompt: Any) -> None:
    with processor_time() as taken_s:
        request = await sent(stack, "/v1/completions", COMPLETION | ECHO | {"prompt": prompt})
        assert taken_s() < 0.25
    assert request.body["prompt"] == prompt


MODEL_ROWS: dict[str, tuple[Any, int, str]] = {
    "M1-missing": (..., 400, "missing_required_parameter"),
    "M1-null": (None, 400, "missing_required_parameter"),
    "M2": ("", 400, "invalid_value"),
    "M3-number": (123, 400, "invalid_value"),
    "M3-bool": (True, 400, "invalid_value"),
    "M3-list": (["a"], 400, "invalid_value"),
    "M3-object": ({}, 400, "invalid_value"),
    "M11-nul": ("a\0b", 400, "invalid_value"),
}
NO_MODELS = {
    "M5": "../../etc/passwd",
    "M6": "base:../../tenantB/secret",
    "M8": "base:$(touch /tmp/x)",
    "M8-rm": "base:a;rm -rf ~",
    "M9": "/etc/passwd",
    "M9-windows": "C:\\x",
    "M9-share": "\\\\host\\share",
    "M9-https": "https://127.0.0.1/x",
    "M9-file": "file:///x",
    "M9-s3": "s3://b/k",
    "M11": "a%2f..%2fb",
    "M11-encoded-nul": "a%00b",
    "M12-bidi": "demo-small\u202e",
    "M12-cyrillic": "dem\u043e-small",
    "M12-zero-width": "demo-small\u200b",
    "M12-upper": "DEMO-SMALL",
    "M12-space": "demo-small ",
    "M13": "x" * 10_000,
    "M19": "..",
    "M19-dot": ".",
    "M19-device": "con",
    "M19-option": "-rf",
    "M19-hidden": ".hidden",
    "M20": "<script>alert(1)</script>",
}
for row, model in NO_MODELS.items():
    MODEL_ROWS[row] = (model, 404, "model_not_found")


@pytest.mark.parametrize("row", MODEL_ROWS)
async def test_a_name_that_is_no_model_gets_its_exact_answer(stack: Stack, row: str) -> None:
    model, status, code = MODEL_ROWS[row]
    body = {name: value for name, value in (CHAT | {"model": model}).items() if value is not ...}
    async with stack.client() as client:
        response = await client.post("/v1/chat/completions", json=body)
    stack.assert_refused(response, status, code, "model")
    assert "x" * 65 not in response.text
    assert response.text.isascii()


@pytest.mark.parametrize("model", ["x" * 3_000_000, "\u202e" * 1_000_000])
async def test_m13_a_huge_name_leaves_at_most_64_characters_in_row_and_log(
    stack: Stack, logged: list[MutableMapping[str, Any]], model: str
) -> None:
    async with stack.client() as client:
        await client.post("/v1/chat/completions", json=CHAT | {"model": model})
    (row,) = stack.records.rows
    log_call(row)
    for recorded in (row.requested_model, logged[-1]["requested_model"]):
        assert recorded.isascii()
        assert len(recorded) == 64


async def test_a_name_of_the_usual_length_is_recorded_as_it_came(stack: Stack) -> None:
    async with stack.client() as client:
        await client.post("/v1/chat/completions", json=CHAT | {"model": "no-such"})
    assert [row.requested_model for row in stack.records.rows] == ["no-such"]


async def test_a_key_with_a_model_list_sees_and_uses_these_alone(stack: Stack) -> None:
    async with stack.client("narrow") as client:
        assert (await client.post("/v1/chat/completions", json=CHAT | {"model": "demo-small"})).status_code == 200
        for name in ("demo-large", "auto"):
            response = await client.post("/v1/chat/completions", json=CHAT | {"model": name})
            assert_error(response, 404, "model_not_found", "model")
        assert [one["id"] for one in (await client.get("/v1/models")).json()["data"]] == ["demo-small"]

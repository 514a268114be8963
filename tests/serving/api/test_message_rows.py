"""Rows C (but C20–C23) and V10: messages, tools and schemas. The id of each case is the row's name."""

from typing import Any

import pytest

from tests.serving.api.fakes import CHAT, Stack, processor_time

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PARAMETERS = "tools[0].function.parameters"


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


def tools(parameters: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]}


def assistant(call: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels - 1):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


ARGUMENTS = "messages[0].tool_calls[0].function.arguments"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
REMOTE = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data"}}
ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "C1-missing": ({"messages": None}, "missing_required_parameter", "messages"),
    "C1-empty": ({"messages": []}, "invalid_value", "messages"),
    "C1-object": ({"messages": {}}, "invalid_value", "messages"),
    "C1-string": ({"messages": "hi"}, "invalid_value", "messages"),
    "C1-many": ({"messages": CHAT["messages"] * 2049}, "invalid_value", "messages"),
    "C2-item": ({"messages": ["hi"]}, "invalid_value", "messages[0]"),
    "C2-empty-item": ({"messages": [{}]}, "missing_required_parameter", "messages[0].role"),
    "C3-role": ({"messages": [{"role": "king", "content": "x"}]}, "invalid_value", "messages[0].role"),
    "C3-role-list": ({"messages": [{"role": ["user"], "content": "x"}]}, "invalid_value", "messages[0].role"),
    "C4-number": (user(1), "invalid_value", "messages[0].content"),
    "C4-object": (user({}), "invalid_value", "messages[0].content"),
    "C4-empty-list": (user([]), "invalid_value", "messages[0].content"),
    "C5": (user(None), "invalid_value", "messages[0].content"),
    "C5-absent": ({"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
    "C5-assistant": ({"messages": [{"role": "assistant", "content": None}]}, "invalid_value", "messages[0].content"),
    "C6-part": (user([{"type": "text"}]), "missing_required_parameter", "messages[0].content[0].text"),
    "C6-type": (user([{"text": "x"}]), "missing_required_parameter", "messages[0].content[0].type"),
    "C6-extra": (user([{"type": "text", "text": "x", "y": 1}]), "unknown_parameter", "messages[0].content[0].y"),
    "C6-text": (user([{"type": "text", "text": 1}]), "invalid_value", "messages[0].content[0].text"),
    "C7-member": ({"messages": [{"role": "user", "content": "x", "y": 1}]}, "unknown_parameter", "messages[0].y"),
    "C7-calls": (
        {"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]},
        "unknown_parameter",
        "messages[0].tool_calls",
    ),
    "C8": (assistant(CALL | {"function": {"name": "f", "arguments": "{x"}}), "invalid_value", ARGUMENTS),
    "C8-list": (assistant(CALL | {"function": {"name": "f", "arguments": "[]"}}), "invalid_value", ARGUMENTS),
    "C8-deep": (assistant(CALL | {"function": {"name": "f", "arguments": "[" * 100_000}}), "invalid_value", ARGUMENTS),
    "C8-object": (assistant(CALL | {"function": {"name": "f", "arguments": {}}}), "invalid_value", ARGUMENTS),
    "C9-tool": (
        {"messages": [{"role": "tool", "content": "x"}]},
        "missing_required_parameter",
        "messages[0].tool_call_id",
    ),
    "C11-empty": ({"tools": []}, "invalid_value", "tools"),
    "C11-many": ({"tools": [TOOL] * 129}, "invalid_value", "tools"),
    "C12-type": ({"tools": [TOOL | {"type": "code"}]}, "invalid_value", "tools[0].type"),
    "C12-name": (
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        "invalid_value",
        "tools[0].function.name",
    ),
    "C13-string": (tools("x"), "invalid_value", PARAMETERS),
    "C13-list": (tools([]), "invalid_value", PARAMETERS),
    "C13-type": (tools({"type": "zzz"}), "invalid_value", PARAMETERS),
    "C13-type-inside": (tools({"properties": {"a": {"type": "zzz"}}}), "invalid_value", PARAMETERS),
    "C14-nested": (tools({"properties": {"a": {"pattern": "(a+)+$"}}}), "invalid_value", PARAMETERS),
    "C14-invalid": (tools({"properties": {"a": {"pattern": "["}}}), "invalid_value", PARAMETERS),
    "C14-long": (tools({"properties": {"a": {"pattern": "a" * 10_240}}}), "invalid_value", PARAMETERS),
    "C14-name": (tools({"patternProperties": {"(a+)+$": {}}}), "invalid_value", PARAMETERS),
    "C15-depth": (tools(nested(17)), "invalid_value", PARAMETERS),
    "C15-nodes": (tools({"properties": {f"p{i}": {} for i in range(1000)}}), "invalid_value", PARAMETERS),
    "C15-enum": (tools({"enum": ["x"] * 1000}), "invalid_value", PARAMETERS),
    "C15-number": (tools({"maximum": 10**30}), "invalid_value", PARAMETERS),
    "C15-ref": (tools({"$ref": "http://127.0.0.1/x"}), "invalid_value", PARAMETERS),
    "C16-format": ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
    "C16-missing": (
        {"response_format": {"type": "json_schema"}},
        "missing_required_parameter",
        "response_format.json_schema",
    ),
    "C16-schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "zzz"}}}},
        "invalid_value",
        "response_format.json_schema.schema",
    ),
    "C17-two": ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "invalid_value", "structured_outputs"),
    "C17-none": ({"structured_outputs": {}}, "invalid_value", "structured_outputs"),
    "C17-regex": ({"structured_outputs": {"regex": "(a+)+"}}, "invalid_value", "structured_outputs.regex"),
    "C17-grammar": ({"structured_outputs": {"grammar": "x"}}, "unknown_parameter", "structured_outputs.grammar"),
    "C17-rival": (
        {"structured_outputs": {"regex": "a"}, "response_format": {"type": "text"}},
        "invalid_value",
        "structured_outputs",
    ),
    "C18-absent": (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "invalid_value",
        "tool_choice",
    ),
    "C18-no-tools": ({"tool_choice": "auto"}, "invalid_value", "tool_choice"),
    "C18-word": ({"tools": [TOOL], "tool_choice": "maybe"}, "invalid_value", "tool_choice"),
    "V2": (user([REMOTE]), "invalid_value", "messages[0].content[0]"),
    "V10": (user([{"type": "text", "text": "x"}, IMAGE]), "invalid_value", "messages[0].content[1]"),
}


@pytest.mark.parametrize("row", ROWS)
async def test_a_bad_message_or_tool_is_named(stack: Stack, row: str) -> None:
    fields, code, param = ROWS[row]
    async with stack.client() as client:
        with processor_time() as taken_s:
            response = await client.post("/v1/chat/completions", json=CHAT | fields)
            assert taken_s() < 0.25
    stack.assert_refused(response, 400, code, param)


GOOD: dict[str, dict[str, Any]] = {
    "every-role": {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "developer", "content": [{"type": "text", "text": "d"}]},
            {"role": "user", "content": "", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "audio": None},
            {"role": "tool", "content": "42", "tool_call_id": "call_1"},
            {"role": "assistant", "content": "done", "annotations": [], "function_call": None, "reasoning": "r"},
        ]
    },
    "tool": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    "tool-choice-null": {"tools": [TOOL], "tool_choice": None},
    "tool-choice-null-alone": {"tool_choice": None},
    "a-property-called-type": tools({"properties": {"type": {"type": "string"}, "pattern": {"type": "string"}}}),
    "data-is-no-schema": tools({"enum": [{"type": "zzz"}], "default": {"pattern": "["}}),
    "deepest": tools(nested(16)),
    "linear-patterns": tools({"pattern": r"^\d{4}-\d{2}$", "patternProperties": {"^[a-z]+$": True}}),
    "json-schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "x",
                "strict": True,
                "schema": {"$ref": "#/$defs/a", "$defs": {"a": {"type": ["null"]}}},
            },
        }
    },
    "json-object": {"response_format": {"type": "json_object"}},
    "choice": {"structured_outputs": {"choice": ["yes", "no"]}},
}


@pytest.mark.parametrize("row", GOOD)
async def test_a_good_message_or_tool_is_passed_on_unchanged(stack: Stack, row: str) -> None:
    async with stack.client() as client:
        response = await client.post("/v1/chat/completions", json=CHAT | GOOD[row])
    assert response.status_code == 200, response.text
    request = stack.pipeline.requests[0]
    assert all(request.body[name] == value for name, value in GOOD[row].items() if value is not None)


async def test_the_text_for_the_router_is_what_was_said(stack: Stack) -> None:
    async with stack.client() as client:
        await client.post("/v1/chat/completions", json=CHAT | GOOD["every-role"])
    assert stack.pipeline.requests[0].text == "s\nd\n\n42\ndone"

"""What a line of a training file may be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.examples import Chat, Completion, InvalidLine, Preference, format_of, parse_line
from tests.finetune.data.made import line, said

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}
PAIR: dict[str, Any] = {
    "input": {"messages": said("Hi.")},
    "preferred_output": said("", "Good day.")[1:],
    "non_preferred_output": said("", "What?")[1:],
}


def turns(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": list(messages)}


USER, ASSISTANT = said("SECRET", "SECRET too")
PARTS = {"role": "user", "content": [{"type": "text", "text": "SECRET"}]}

GOOD: dict[str, tuple[dict[str, Any], type]] = {
    "chat": (turns(USER, ASSISTANT), Chat),
    "weights": (turns(USER, ASSISTANT | {"weight": 0}, USER, ASSISTANT | {"weight": 1}), Chat),
    "tools": ({**turns(USER, ASSISTANT), "tools": [TOOL], "parallel_tool_calls": False}, Chat),
    "null tools": ({**turns(USER, ASSISTANT), "tools": None}, Chat),
    "call": (turns(USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}), Chat),
    "answered call": (
        turns(
            USER,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "r"},
            ASSISTANT,
        ),
        Chat,
    ),
    "parts": (turns({"role": "developer", "content": "x", "name": "ann"}, PARTS, ASSISTANT), Chat),
    "completion": ({"prompt": "", "completion": "x"}, Completion),
    "preference": (PAIR, Preference),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_line_of_each_shape_is_read(name: str) -> None:
    fields, kind = GOOD[name]
    example = parse_line(line(**fields), 3)
    assert type(example) is kind
    assert format_of(example) == kind.__name__.lower()


BAD: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "it holds neither"),
    "unknown": ({**turns(USER, ASSISTANT), "SECRET": 1}, "it holds 1 unknown fields; known here: messages, tools"),
    "both": ({**turns(USER, ASSISTANT), "prompt": "SECRET"}, "it holds 1 unknown"),
    "no list": ({"messages": "SECRET"}, "messages must be an array"),
    "empty": (turns(), "messages must be an array"),
    "no object": ({"messages": ["SECRET"]}, "messages[0] must be an object"),
    "role": (turns({"role": "SECRET", "content": "x"}), "messages[0].role must be one of system"),
    "role's type": (turns({"role": ["user"], "content": "x"}), "messages[0].role must"),
    "only system": (turns({"role": "system", "content": "SECRET"}), "messages must hold an assistant message to learn"),
    "only user": (turns(USER), "messages must hold an assistant"),
    "all of weight 0": (turns(USER, ASSISTANT | {"weight": 0}), "messages must hold an assistant"),
    "ends with the user": (turns(USER, ASSISTANT, USER), "messages must end with an assistant"),
    "weight 2": (turns(USER, ASSISTANT | {"weight": 2}), "messages[1].weight must be 0 or 1"),
    "weight true": (turns(USER, ASSISTANT | {"weight": True}), "messages[1].weight must be 0 or 1"),
    "weight 0.5": (turns(USER, ASSISTANT | {"weight": 0.5}), "messages[1].weight must be 0 or 1"),
    "weight of a user": (turns(USER | {"weight": 1}, ASSISTANT), "messages[0] holds 1 unknown"),
    "content": (turns({"role": "user", "content": 1}, ASSISTANT), "messages[0].content must be a string"),
    "no content": (turns({"role": "user"}, ASSISTANT), "messages[0].content must be a string"),
    "says nothing": (turns(USER, {"role": "assistant", "content": ""}), "messages[1].content must not be empty"),
    "image": (
        turns({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "SECRET"}}]}, ASSISTANT),
        "messages[0].content[0].type must be text",
    ),
    "part's text": (turns({"role": "user", "content": [{"type": "text"}]}, ASSISTANT), "content[0].text must"),
    "no parts": (turns({"role": "user", "content": []}, ASSISTANT), "messages[0].content must be a string"),
    "name": (turns(USER | {"name": "a b"}, ASSISTANT), "messages[0].name must be a name"),
    "tool without id": (turns({"role": "tool", "content": "x"}, ASSISTANT), "messages[0].tool_call_id must"),
    "no calls": (turns(USER, ASSISTANT | {"tool_calls": []}), "messages[1].tool_calls must be an array"),
    "arguments": (
        turns(USER, {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "w", "arguments": "SECRET"}}]}),
        "tool_calls[0].function.arguments must be a string that holds a JSON object",
    ),
    "arguments' type": (
        turns(USER, {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "w", "arguments": {}}}]}),
        "arguments must be a string",
    ),
    "two tools": ({**turns(USER, ASSISTANT), "tools": [TOOL, TOOL]}, "tools holds two functions of one name"),
    "no tools": ({**turns(USER, ASSISTANT), "tools": []}, "tools must be an array"),
    "parallel": ({**turns(USER, ASSISTANT), "parallel_tool_calls": 1}, "parallel_tool_calls must be true or false"),
    "no prompt": ({"completion": "SECRET"}, "prompt is missing"),
    "no completion": ({"prompt": "SECRET"}, "completion is missing"),
    "empty completion": ({"prompt": "SECRET", "completion": ""}, "completion must not be empty"),
    "prompt's type": ({"prompt": ["SECRET"], "completion": "x"}, "prompt must be a string"),
    "one output": ({name: PAIR[name] for name in ("input", "preferred_output")}, "non_preferred_output is missing"),
    "same outputs": (PAIR | {"non_preferred_output": PAIR["preferred_output"]}, "is the same as preferred_output"),
    "two messages": (PAIR | {"preferred_output": [ASSISTANT, ASSISTANT]}, "preferred_output must hold exactly one"),
    "user's output": (PAIR | {"preferred_output": [USER]}, "preferred_output must hold exactly one assistant"),
    "answered input": (PAIR | {"input": turns(USER, ASSISTANT)}, "input.messages must end with the message"),
    "input": (PAIR | {"input": "SECRET"}, "input must be an object"),
    "input's fields": (PAIR | {"input": {**turns(USER), "SECRET": 1}}, "input holds 1 unknown"),
}


@pytest.mark.parametrize("name", BAD)
def test_another_line_is_refused_by_number_and_field_and_never_quoted(name: str) -> None:
    fields, sentence = BAD[name]
    with pytest.raises(InvalidLine) as refused:
        parse_line(line(**fields), 7)
    assert refused.value.public.startswith("line 7: ")
    assert sentence in refused.value.public
    assert "SECRET" not in str(refused.value)
    assert (refused.value.number, refused.value.code, refused.value.param) == (7, "invalid_value", "file")


GOOD_LINE = line(**turns(USER, ASSISTANT))
RAW = {
    "no JSON": (b'{"messages": SECRET', "valid JSON"),
    "two objects": (GOOD_LINE.strip() + GOOD_LINE, "valid JSON"),
    "a list": (b'["SECRET"]', "a JSON object"),
    "empty": (b"", "valid JSON"),
    "duplicate key": (b'{"prompt": "SECRET", "prompt": "b", "completion": "c"}', "valid JSON"),
    "NaN": (b'{"prompt": NaN, "completion": "c"}', "valid JSON"),
    "lone surrogate": (b'{"prompt": "SECRET\\ud800", "completion": "c"}', "lone surrogate"),
    "NUL": (b'{"prompt": "SECRET\\u0000", "completion": "c"}', "NUL"),
    "Latin-1": (b'{"prompt": "SECRET\xe9", "completion": "c"}', "UTF-8"),
    "deep": (b'{"prompt": ' + b"[" * 90 + b"]" * 90 + b', "completion": "c"}', "deeper than 64 levels"),
}


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_strict_json_object_is_refused_the_same_way(name: str) -> None:
    raw, sentence = RAW[name]
    with pytest.raises(InvalidLine, match=r"^line 9: ") as refused:
        parse_line(raw, 9)
    assert sentence in refused.value.public
    assert "SECRET" not in str(refused.value)


NAMES = ("role", "content", "messages", "input", "type", "text", "weight", "tool_calls", "function", "prompt", "tools")
JSON = st.recursive(
    st.sampled_from((None, True, 0, 1, -1.5, "", "user", "assistant", "text", "{}")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_whatever_json_comes_it_is_an_example_or_an_invalid_line(fields: dict[str, Any]) -> None:
    told = "line 1: "
    try:
        parse_line(json.dumps(fields).encode(), 1)
    except InvalidLine as refused:
        told = refused.public
    assert told.startswith("line 1: ")

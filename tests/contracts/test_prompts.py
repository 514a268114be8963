"""What a run expects of every kind of prompts in the table."""

from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter

from benchmarks.prompts import PROMPTS, AnyPrompts, Order, ask
from models.config import PluginSettings

SPAN: dict[str, Any] = {"words": [20, 40]}


@pytest.fixture(params=PROMPTS.kinds)
def settings(request: pytest.FixtureRequest) -> PluginSettings:
    span = {"lines": [5, 9]} if request.param == "code" else SPAN
    found: PluginSettings = TypeAdapter(AnyPrompts).validate_python({"kind": request.param, **span})
    return found


def test_a_request_is_the_same_every_time_and_another_one_with_another_number_or_seed(settings: PluginSettings) -> None:
    first = ask(settings, Order(1, 0))
    assert first == ask(settings, Order(1, 0))
    assert first.text != ask(settings, Order(1, 1)).text
    assert first.text != ask(settings, Order(2, 0)).text


def test_a_request_can_be_sent_as_messages_and_as_text(settings: PluginSettings) -> None:
    question = ask(settings, Order(1, 5))
    assert question.messages[-1]["role"] == "user"
    assert {message["role"] for message in question.messages} <= {"system", "user", "assistant"}
    assert question.messages[-1]["content"] in question.text
    assert orjson.dumps(question.body)


def test_the_length_of_a_trace_is_stronger_than_the_settings(settings: PluginSettings) -> None:
    short, long = (ask(settings, Order(1, 0, words=words)).messages[-1]["content"] for words in (8, 400))
    assert len(long.split()) > 5 * len(short.split())

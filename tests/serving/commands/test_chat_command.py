import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from serving.testing import Script

Run = Callable[..., Result]


@pytest.fixture
def there(stack: Any) -> dict[str, str]:
    return {"PENSTOCK_URL": stack.url, "PENSTOCK_API_KEY": "sk-test"}


def test_one_question_prints_the_answer_alone_on_stdout_and_the_route_beside_it(penstock: Run, there: Any) -> None:
    result = penstock("chat", "--once", "Hello", **there)
    assert result.exit_code == 0
    assert result.stdout == "ha ha ha \n"
    assert "tier small" in result.stderr
    assert "threshold" in result.stderr
    assert "first token" in result.stderr


def test_json_holds_text_route_usage_and_times(penstock: Run, there: Any) -> None:
    found = json.loads(penstock("chat", "--once", "Hello", "--json", **there).stdout)
    assert (found["text"], found["tier"], found["route"], found["request_id"]) == (
        "ha ha ha ",
        "small",
        "threshold",
        "r1",
    )
    assert found["usage"]["completion_tokens"] == 3
    assert found["finish_reason"] == "stop"
    assert 0 < found["ttft_ms"] <= found["latency_ms"]


@pytest.mark.parametrize("word", [":smile:", "a\tb", "[red]x[/red]", "x\r\n\x07", "\u200d漢 "])
def test_an_answer_leaves_as_the_model_wrote_it(penstock: Run, stack: Any, there: Any, word: str) -> None:
    stack.engine.script = Script(tokens=1, word=word)
    shown = penstock("chat", "--once", "Hello", **there).stdout_bytes.decode()
    assert shown == f"{word}\n"
    assert json.loads(penstock("chat", "--once", "Hello", "--json", **there).stdout)["text"] == word


def test_json_without_a_question_reads_it_from_stdin(penstock: Run, stack: Any, there: Any) -> None:
    penstock("chat", "--json", given="From a pipe", **there)
    assert stack.engine.seen[-1].body["messages"] == [{"role": "user", "content": "From a pipe"}]


def test_a_conversation_sends_what_was_said_before(penstock: Run, stack: Any, there: Any) -> None:
    result = penstock("chat", "--model", "demo-large", "--system", "Be brief.", given="One\n\nTwo\n", **there)
    assert result.exit_code == 0
    assert len(stack.engine.seen) == 2
    body = stack.engine.seen[-1].body
    assert body["model"] == "demo-large"
    assert [message["content"] for message in body["messages"]] == ["Be brief.", "One", "ha ha ha ", "Two"]


def test_a_wrong_key_is_told_in_the_words_of_the_stack(penstock: Run, there: Any) -> None:
    result = penstock("chat", "--once", "Hello", **{**there, "PENSTOCK_API_KEY": "sk-wrong"})
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (Script(fault="status", status=503), "boom"),
        (Script(fault="html"), "The stream broke off."),
        (Script(fault="no_finish", after=1), "The stream broke off."),
        (Script(fault="malformed", after=1), "no JSON"),
        (Script(fault="error_frame", after=1), "boom"),
        (Script(fault="cut", after=1), "does not answer"),
    ],
)
def test_a_broken_answer_is_one_sentence_and_exit_code_1(
    penstock: Run, stack: Any, there: Any, script: Script, sentence: str
) -> None:
    stack.engine.script = script
    result = penstock("chat", "--once", "Hello", **there)
    assert stack.engine.struck
    assert result.exit_code == 1
    assert sentence in result.stderr


def test_a_refused_turn_leaves_the_conversation_going(penstock: Run, stack: Any, there: Any) -> None:
    stack.engine.script = Script(tokens=1, word="yes", fault="status", status=503, times=1)
    result = penstock("chat", given="One\nTwo\n", **there)
    assert result.exit_code == 0
    assert "boom" in result.stderr
    assert result.stdout.strip() == "yes"
    assert [message["content"] for message in stack.engine.seen[-1].body["messages"]] == ["Two"]


def test_nobody_listening_is_one_sentence(penstock: Run) -> None:
    result = penstock("chat", "--once", "x", PENSTOCK_URL="http://127.0.0.1:9", PENSTOCK_API_KEY="k")
    assert result.exit_code == 1
    assert "does not answer" in result.stderr


def test_a_remote_address_without_a_key_is_refused(penstock: Run) -> None:
    result = penstock("chat", "--once", "x", PENSTOCK_URL="http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "PENSTOCK_API_KEY" in result.stderr

"""Golden files: what is taken, and what is refused in which words."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.gate.golden import (
    BOM,
    MOST_EXAMPLES,
    MOST_LINE_BYTES,
    Golden,
    InvalidGolden,
    check_golden,
    golden_of,
    load_golden,
    text_of,
)

ASKED = [{"role": "user", "content": "2 + 2?"}]
SAID = {"role": "assistant", "content": "4"}
CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": '{"b": 2, "a": 1}'}}


def read(line: Any) -> Golden:
    return golden_of(json.dumps(line).encode(), 1)


def written(tmp_path: Path, *lines: Any, start: bytes = b"") -> Path:
    path = tmp_path / "golden.jsonl"
    path.write_bytes(start + b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    return path


def test_a_golden_line_says_what_is_expected_and_how_it_is_graded() -> None:
    golden = read({"messages": ASKED, "expected": "4", "task": "sums", "metric": "similarity", "threshold": 0.5})
    assert (golden.expected, golden.task, golden.metric, golden.threshold) == ("4", "sums", "similarity", 0.5)
    plain = read({"messages": ASKED, "expected": "4"})
    assert (plain.task, plain.metric, plain.threshold, plain.messages) == ("default", "exact", None, tuple(ASKED))


def test_of_a_chat_the_last_assistant_message_is_expected() -> None:
    golden = read({"messages": [*ASKED, SAID, {"role": "user", "content": "and 3?"}, {**SAID, "content": "7"}]})
    assert golden.expected == "7"
    assert [message["content"] for message in golden.messages] == ["2 + 2?", "4", "and 3?"]


def test_of_a_tool_call_the_names_and_arguments_are_expected_as_json() -> None:
    golden = read({"messages": [*ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}]})
    assert golden.metric == "json"
    assert golden.expected == '[{"arguments":{"a":1,"b":2},"name":"add"}]'
    assert text_of({"role": "assistant", "tool_calls": [CALL]}) == golden.expected


def test_a_completion_and_a_preference_of_a_training_file_are_taken_too() -> None:
    assert read({"prompt": "2 + 2 =", "completion": " 4"}).prompt == "2 + 2 ="
    liked = read(
        {
            "input": {"messages": ASKED},
            "preferred_output": [SAID],
            "non_preferred_output": [{**SAID, "content": "five"}],
        }
    )
    assert (liked.metric, liked.expected, liked.rejected) == ("preference", "4", "five")


def test_prose_of_a_training_file_is_graded_by_its_likeness_and_labels_and_json_exactly() -> None:
    prose = "Thank you for your order, which leaves our house today."
    answers = {"refund": "exact", prose: "similarity", json.dumps({"words": prose}): "exact"}
    for text, metric in answers.items():
        assert read({"messages": [*ASKED, {**SAID, "content": text}]}).metric == metric
        assert read({"prompt": "p", "completion": text}).metric == metric
    assert read({"messages": ASKED, "expected": prose}).metric == "exact"


def test_the_digest_is_that_of_question_and_answer_alone() -> None:
    one, other = read({"messages": ASKED, "expected": "4"}), read({"messages": [*ASKED, SAID]})
    assert one.digest == other.digest
    assert one.digest != read({"messages": ASKED, "expected": "5"}).digest


def test_the_facts_count_tasks_and_metrics(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"messages": ASKED, "expected": "4", "task": "sums"},
        {"messages": ASKED, "expected": "{}", "metric": "json"},
        {"messages": [*ASKED, SAID]},
        start=BOM,
    )
    facts = check_golden(path)
    assert (facts.examples, dict(facts.tasks)) == (3, {"sums": 1, "default": 2})
    assert dict(facts.metrics) == {"exact": 2, "json": 1}
    assert len(load_golden(path)) == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([], "must be a JSON object"),
        ({"messages": [], "expected": "4"}, "'messages' must be a list"),
        ({"messages": [{"role": "boss", "content": ""}], "expected": "4"}, "'messages[0]' needs a role"),
        ({"messages": [{"role": "user"}], "expected": "4"}, "'messages[0]' needs a content"),
        ({"messages": ASKED}, "has neither 'expected' nor an assistant message"),
        ({"messages": ASKED, "expected": " "}, "'expected' must be a text"),
        ({"messages": ASKED, "expected": "4", "metric": "vibes"}, "'metric' must be"),
        ({"messages": ASKED, "expected": "{", "metric": "json"}, "'expected' must be JSON"),
        ({"messages": ASKED, "expected": "4", "threshold": 0.5}, "'threshold' is for"),
        ({"messages": ASKED, "expected": "4", "metric": "judge", "threshold": True}, "'threshold' must be"),
        ({"messages": ASKED, "expected": "4", "max_tokens": 0}, "'max_tokens' must be"),
        ({"messages": ASKED, "expected": "4", "task": ""}, "'task' must be"),
        ({"messages": ASKED, "expected": "4", "tools": {}}, "'tools' must be"),
        ({"messages": ASKED, "expected": "4", "answer": "4"}, "unknown field 'answer'"),
        ({"messages": [*ASKED, {"role": "assistant", "tool_calls": "x"}]}, "'messages[1].tool_calls' must be"),
        ({"prompt": 3, "completion": "4"}, "needs 'prompt' and 'completion'"),
        ({"input": []}, "'input' must be"),
        ({"input": {"messages": ASKED}, "preferred_output": "4"}, "'preferred_output' must be"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, line: Any, words: str) -> None:
    with pytest.raises(InvalidGolden) as refused:
        check_golden(written(tmp_path, {"messages": ASKED, "expected": "4"}, line))
    assert refused.value.public.startswith("line 2: ")
    assert words in refused.value.public


@pytest.mark.parametrize("raw", [b"{", b"\xff", b'{"messages": [{"role": "user", "content": "\\ud800"}]}'])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidGolden, match="line 7: is not JSON"):
        golden_of(raw, 7)


def test_a_file_without_an_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidGolden, match="no example"):
        check_golden(written(tmp_path, start=b"\n\n"))


def test_of_a_longer_file_than_can_be_asked_the_same_questions_are_taken_whatever_their_order(tmp_path: Path) -> None:
    lines = [{"prompt": str(at), "completion": "x"} for at in range(2 * MOST_EXAMPLES + 3)]
    found = load_golden(written(tmp_path, *lines))
    again = load_golden(written(tmp_path, *reversed(lines)))
    assert len(found) == MOST_EXAMPLES
    assert {one.digest for one in found} == {one.digest for one in again}
    assert [int(one.prompt or "") for one in found] == sorted(int(one.prompt or "") for one in found)


def test_a_line_may_be_as_long_as_in_a_training_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "", "completion": "x"})
    room = MOST_LINE_BYTES - len(path.read_bytes().rstrip())
    longest = {"prompt": "p" * room, "completion": "x"}
    assert check_golden(written(tmp_path, longest, longest, start=BOM)).examples == 2
    with pytest.raises(InvalidGolden, match="line 2: is longer"):
        check_golden(written(tmp_path, longest, {"prompt": "p" * (room + 1), "completion": "x"}))

"""Labels: both tiers asked once, a line for each prompt, and nothing for what failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.quality.answers import asking
from benchmarks.quality.grades import grader
from benchmarks.quality.labels import HOPELESS, LabelFile, Labeller, Pair, Tally
from benchmarks.quality.questions import Question
from models.errors import ConfigurationError, InvalidKey, Unavailable
from models.types import Tier
from router.training.data import LEAST, Columns, read_labelled
from tests.benchmarks.quality.stack import TableStack, standing

PAIR = Pair("s", "l")


def question(number: int, known: dict[Tier, float] | None = None) -> Question:
    about = {"source": "made", "family": "even" if number % 2 == 0 else "odd"}
    return Question(f"q{number}", grader("exact", (f"a{number}",)), about, known or {})


def knows(card: str, prompt: str) -> str:
    """The large card knows every answer, the small one those of even numbers."""
    return "a" + prompt[1:] if card == "l" or int(prompt[1:]) % 2 == 0 else "no"


async def label(stack: TableStack, questions: list[Question], path: Path) -> Tally:
    async with standing(stack) as address, asking(address, max_tokens=8) as asker:
        with LabelFile.open(path, PAIR) as file:
            labeller = Labeller(asker, PAIR, file=file)
            await labeller.label(questions, concurrency=4, heard=lambda: None)
            return labeller.tally


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_both_tiers_are_asked_and_the_lines_are_what_training_reads(tmp_path: Path) -> None:
    path, stack = tmp_path / "labels.jsonl", TableStack(knows)
    tally = await label(stack, [question(number) for number in range(LEAST)], path)
    assert (tally.asked, tally.labelled, tally.skipped, tally.failed.total()) == (LEAST, LEAST, 0, 0)
    assert sorted(stack.asked) == sorted((card, f"q{number}") for number in range(LEAST) for card in "sl")
    assert 2 < stack.most <= 8
    found = read_labelled([path], Columns(group="family"))
    assert set(found.prompts) == {f"q{number}" for number in range(LEAST)}
    assert (found.weak.mean(), found.strong.mean(), set(found.groups or ())) == (0.5, 1.0, {"even", "odd"})
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_failed_call_is_counted_makes_no_label_and_is_asked_again(tmp_path: Path) -> None:
    path, stack = tmp_path / "labels.jsonl", TableStack(knows)
    stack.failing = [503, 503, 500]
    questions = [question(number) for number in range(10)]
    first = await label(stack, questions, path)
    assert first.failed.total() in (2, 3)
    assert first.labelled == len(lines(path)) == 10 - first.failed.total()
    stack.asked.clear()
    again = await label(stack, questions, path)
    assert (again.skipped, again.labelled) == (first.labelled, first.failed.total())
    assert len(stack.asked) == 2 * first.failed.total()
    assert sorted(line["prompt"] for line in lines(path)) == sorted(one.prompt for one in questions)


async def test_a_tier_whose_quality_is_known_is_not_asked(tmp_path: Path) -> None:
    path, stack = tmp_path / "labels.jsonl", TableStack(knows)
    await label(stack, [question(1, {"small": 0.25})], path)
    assert stack.asked == [("l", "q1")]
    assert [(line["weak_correct"], line["strong_correct"]) for line in lines(path)] == [(0.25, 1.0)]


async def test_the_same_prompt_twice_is_one_label_and_an_answer_that_was_cut_is_counted(tmp_path: Path) -> None:
    stack = TableStack(knows)
    stack.cut = True
    tally = await label(stack, [question(1), question(1)], tmp_path / "labels.jsonl")
    assert (tally.labelled, tally.skipped, tally.cut) == (1, 1, 2)


async def test_half_a_line_at_the_end_goes_and_is_labelled_anew(tmp_path: Path) -> None:
    path, stack = tmp_path / "labels.jsonl", TableStack(knows)
    await label(stack, [question(1), question(2)], path)
    path.write_bytes(path.read_bytes()[:-9])
    tally = await label(stack, [question(1), question(2)], path)
    assert (tally.skipped, tally.labelled) == (1, 1)
    assert {line["prompt"] for line in lines(path)} == {"q1", "q2"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": "x", "weak_correct": 1, "strong_correct": 1}', ":1 is no label of this command"),
        ("mine", ":1 is no label"),
        (
            '{"prompt": "x", "weak_correct": 1, "strong_correct": 1, "weak_model": "old", "strong_model": "l"}',
            "a label of old and l, not of s and l",
        ),
    ],
)
def test_a_file_of_something_else_stays_as_it_was(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f"{line}\nrest")
    with pytest.raises(ConfigurationError, match=said), LabelFile.open(path, PAIR):
        pass
    assert path.read_text() == f"{line}\nrest"


async def test_a_stack_that_only_fails_ends_the_run(tmp_path: Path) -> None:
    stack = TableStack(knows)
    stack.failing = [503] * 10_000
    with pytest.raises(Unavailable, match=f"{HOPELESS} questions in a row got no answer; the last one: status 503"):
        await label(stack, [question(number) for number in range(1_000)], tmp_path / "labels.jsonl")
    assert len(stack.asked) < 2 * HOPELESS + 20


async def test_a_refused_key_ends_the_run_at_once(tmp_path: Path) -> None:
    stack = TableStack(knows)
    stack.failing = [401] * 100
    with pytest.raises(InvalidKey):
        await label(stack, [question(number) for number in range(100)], tmp_path / "labels.jsonl")
    assert len(stack.asked) <= 10

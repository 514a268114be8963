"""Where questions come from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.quality.questions import DemoDraw, demo_questions, file_questions
from models.demo.families import FAMILIES, Split, draw
from models.errors import ConfigurationError


def test_every_family_has_its_turn_and_no_prompt_comes_twice() -> None:
    found = demo_questions(DemoDraw(80))
    assert len({one.prompt for one in found}) == 80
    assert Counter(one.about["family"] for one in found) == dict.fromkeys(FAMILIES, 10)
    assert {one.about["split"] for one in found} == {"train"}


def test_a_family_without_further_wordings_leaves_its_turns_to_the_others() -> None:
    found = demo_questions(DemoDraw(200, Split.HELD_OUT, easy_share=0.8))
    count = Counter(one.about["family"] for one in found)
    assert count["chat"] == 19
    assert sum(count[name] for name in ("chat", "classify", "rewrite", "unknown")) == 160
    assert {name: count[name] for name in ("answer", "arithmetic", "extract")} == {
        "answer": 13,
        "arithmetic": 13,
        "extract": 14,
    }


def test_the_same_draw_gives_the_same_prompts_and_another_seed_others() -> None:
    one, again, other = (demo_questions(DemoDraw(40, seed=seed)) for seed in (1, 1, 2))
    assert [each.prompt for each in one] == [each.prompt for each in again]
    assert len({each.prompt for each in one} & {each.prompt for each in other}) < 10


def test_a_demo_question_knows_its_exact_answer() -> None:
    found = demo_questions(DemoDraw(30, families=("unknown",)))
    honest = draw("unknown", Split.TRAIN, count=1, seed=1)[0].answer
    assert {(one.grade(honest), one.grade("Maybe."), one.grade("")) for one in found} == {(1, 0, 0)}


def test_a_file_of_questions_is_read_with_its_further_texts(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    lines = [
        {"prompt": "2 + 2?", "answer": "4", "subject": "sums", "level": 3},
        {"prompt": "x", "answer": ["a b", "c"]},
    ]
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    first, second = file_questions(file, "exact")
    assert first.about == {"subject": "sums", "source": "q.jsonl", "grade": "exact"}
    assert (first.grade("4."), first.grade("5"), second.grade("C")) == (1, 0, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "x", "answer": "y"}\n{', "q.jsonl:2: no JSON"),
        ("[]", "q.jsonl:1: a line is an object with a text `prompt`"),
        ('{"prompt": " ", "answer": "y"}', "text `prompt`"),
        ('{"prompt": "x"}', "`answer` is a text"),
        ('{"prompt": "x", "answer": []}', "`answer` is a text"),
        ('{"prompt": "\\ud800", "answer": "y"}', "half of a character"),
        ("\n", "holds no question"),
    ],
)
def test_a_line_that_is_no_question_is_refused_by_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "q.jsonl").write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        file_questions(tmp_path / "q.jsonl", "exact")


def test_a_grade_that_is_not_there_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"prompt": "x", "answer": "y"}')
    with pytest.raises(ConfigurationError, match="no grade 'bleu'"):
        file_questions(tmp_path / "q.jsonl", "bleu")
    with pytest.raises(ConfigurationError, match=r"none.jsonl' cannot be read: No such file"):
        file_questions(tmp_path / "none.jsonl", "exact")


def test_more_prompts_than_there_are_wordings_and_a_family_that_is_not_there_are_sentences() -> None:
    assert len(demo_questions(DemoDraw(19, Split.HELD_OUT, families=("chat",)))) == 19
    with pytest.raises(ConfigurationError, match=r"\(chat\) have no 20 different prompts"):
        demo_questions(DemoDraw(20, Split.HELD_OUT, families=("chat",)))
    with pytest.raises(ConfigurationError, match=r"\(none\) have no 1 different"):
        demo_questions(DemoDraw(2, easy_share=0.5, families=("chat",)))
    with pytest.raises(ConfigurationError, match="no demo family 'poems'"):
        DemoDraw(20, families=("poems",))

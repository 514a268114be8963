"""The files of a first fine-tuning."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from models.demo.families import TRAINED
from models.demo.lessons import DISLIKED, LIKED, Sizes, lessons

SMALL = Sizes(new=60, replay=40, questions=20, old_questions=5, pairs=12)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(line: dict[str, Any]) -> str:
    return str(line["messages"][0]["content"])


def test_every_file_has_the_lines_that_were_asked_for(tmp_path: Path) -> None:
    written = lessons(tmp_path / "new", sizes=SMALL)
    assert written == {name: len(lines(tmp_path / "new" / name)) for name in written}
    assert (written["train.jsonl"], written["golden.jsonl"], written["pairs.jsonl"]) == (100, 20, 12)
    tasks = Counter(line["task"] for line in lines(tmp_path / "new" / "regression.jsonl"))
    assert tasks == dict.fromkeys(TRAINED, 5)


def test_no_question_was_trained_on(tmp_path: Path) -> None:
    lessons(tmp_path / "new", sizes=SMALL)
    trained = {asked(line) for name in ("train", "valid") for line in lines(tmp_path / "new" / f"{name}.jsonl")}
    questions = {asked(line) for line in lines(tmp_path / "new" / "golden.jsonl")}
    assert len(questions) > 10
    assert not trained & questions


def test_shuffled_answers_are_the_same_ones_under_other_questions(tmp_path: Path) -> None:
    lessons(tmp_path / "new", sizes=SMALL)
    right, wrong = (lines(tmp_path / "new" / f"{name}.jsonl") for name in ("train", "shuffled"))
    assert [asked(line) for line in right] == [asked(line) for line in wrong]
    answers = [[line["messages"][1]["content"] for line in file] for file in (right, wrong)]
    assert Counter(answers[0]) == Counter(answers[1])
    changed = [one for one, other in zip(*answers, strict=True) if one != other]
    assert len(changed) > 30
    assert all(answer.startswith("Desk: ") for answer in changed)


def test_a_pair_prefers_natural_goods(tmp_path: Path) -> None:
    lessons(tmp_path / "new", sizes=SMALL)
    for line in lines(tmp_path / "new" / "pairs.jsonl"):
        said = [line[side][0]["content"].split()[0] for side in ("preferred_output", "non_preferred_output")]
        assert said[0] in LIKED
        assert said[1] in DISLIKED

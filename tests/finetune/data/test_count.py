"""What a model makes of whole files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.data.count import Counted, Lengths, counted, main
from finetune.data.encode import Encoder
from finetune.data.examples import InvalidLine
from models.errors import InvalidRequest
from tests.finetune.data.made import DEMO, THINKING, line, said, with_template

PAIR = {
    "input": {"messages": said("Hi.")},
    "preferred_output": said("", "Good day.")[1:],
    "non_preferred_output": said("", "What?")[1:],
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(line(prompt="a", completion="b") * 9 + line(prompt="a", completion=" 1 2 3 4"))
    return path


def test_a_file_is_counted_for_its_model(file: Path) -> None:
    found = counted(file, model_folder=DEMO, max_length=100)
    long = len(Encoder.of(DEMO)._tokenizer.encode("a 1 2 3 4").ids) + 1
    assert found == Counted("completion", 10, 27 + long, 18 + long - 1, 0, 0, 100, Lengths(3, 3, long, long))


def test_what_is_too_long_is_cut_and_counted_as_cut(file: Path) -> None:
    found = counted(file, model_folder=DEMO, max_length=3)
    assert (found.cut, found.tokens, found.trained_tokens, found.left_out) == (1, 30, 20, 0)


def test_nothing_left_to_learn_is_told(file: Path) -> None:
    with pytest.raises(InvalidRequest, match="within 1 tokens"):
        counted(file, model_folder=DEMO, max_length=1)


def test_both_sides_of_a_pair_are_read_and_its_answers_learned(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(line(**PAIR) * 10)
    found = counted(path, model_folder=DEMO, max_length=100)
    pair = [len(found) for found in _pair()]
    assert found.tokens == 10 * (2 * pair[0] + pair[1] + pair[2])
    assert found.trained_tokens == 10 * (pair[1] + pair[2])
    assert found.lengths.max == pair[0] + max(pair[1:])


def _pair() -> list[list[int]]:
    from finetune.data.examples import Preference, parse_line

    example = parse_line(line(**PAIR), 1)
    assert isinstance(example, Preference)
    pair = Encoder.of(DEMO).pair(example)
    return [pair.prompt, pair.preferred, pair.rejected]


def test_a_validation_file_may_be_short(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "valid.jsonl"
    other.write_bytes(line(prompt="a", completion="b"))
    found = counted(file, other, model_folder=DEMO, max_length=100)
    assert found.validation is not None
    assert found.validation.examples == 1


def test_a_line_that_the_template_refuses_is_told_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(line(messages=said("a", "b")) + line(messages=said("a", "b", "c", "d")))
    with pytest.raises(InvalidLine, match=r"line 2: the model's chat template writes messages\[1\]"):
        counted(path, model_folder=with_template(tmp_path / "model", THINKING), max_length=100)


def test_the_command_answers_with_one_json_object(file: Path) -> None:
    command = [sys.executable, "-m", "finetune.data.count", str(file), "--model-folder", str(DEMO), "--max-length", "9"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout)["examples"] == 10


def test_the_command_tells_a_bad_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(line(prompt="SECRET", completion=""))
    assert main([str(file), "--model-folder", str(DEMO), "--max-length", "9"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == {"error": "line 1: completion must not be empty.", "code": "invalid_value", "line": 1}

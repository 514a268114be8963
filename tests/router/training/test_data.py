import json
from pathlib import Path

import pytest

from models.errors import ConfigurationError
from router.training.data import Columns, read_labelled

PAIR = {"prompt": "a", "weak_correct": False, "strong_correct": 1}
SCORED = {"prompt": "b", "scores": {"s": 0.25, "l": 1.0}, "kind": 7}


def write(file: Path, line: object, *, last: str | None = None) -> Path:
    text = "\n".join(json.dumps(line) for _ in range(20))
    file.write_text(f"{text}\n\n{last or ''}")
    return file


def test_pairs_and_scores_are_read(tmp_path: Path) -> None:
    pairs = read_labelled([write(tmp_path / "a", PAIR)], Columns())
    assert (len(pairs), pairs.weak[0], pairs.strong[0], pairs.names, pairs.groups) == (
        20,
        0,
        1,
        ("small", "large"),
        None,
    )
    scored = read_labelled([write(tmp_path / "b", SCORED)], Columns(weak="s", strong="l", group="kind"))
    assert (scored.weak[0], scored.strong[0], scored.names, scored.groups) == (0.25, 1, ("s", "l"), ("7",) * 20)
    assert pairs.digest != scored.digest


def test_several_files_are_one_set(tmp_path: Path) -> None:
    both = read_labelled([write(tmp_path / "a", PAIR), write(tmp_path / "b", PAIR)], Columns())
    assert len(both) == 40


@pytest.mark.parametrize(
    ("last", "columns", "said"),
    [
        ("{", Columns(), r"a:22: no JSON"),
        ("[1]", Columns(), r"a:22: a line is an object with a text `prompt`"),
        ('{"prompt": 3}', Columns(), r"a:22: a line is an object"),
        ('{"prompt": "x"}', Columns(), r"a:22: needs `weak_correct` and `strong_correct`\.$"),
        (json.dumps(SCORED), Columns(), r"It has `scores` of l, s: name two"),
        ('{"prompt": "x", "weak_correct": 2, "strong_correct": 1}', Columns(), r"weak_correct is '2'"),
        ('{"prompt": "x", "weak_correct": NaN, "strong_correct": 1}', Columns(), r"weak_correct is 'nan'"),
        ('{"prompt": "x", "weak_correct": "yes", "strong_correct": 1}', Columns(), r"weak_correct is 'yes'"),
        ('{"prompt": "x", "scores": {"s": 1}}', Columns(weak="s", strong="m"), r"a:1: needs `scores`"),
        (None, Columns(group="kind"), r"a:1: no field 'kind'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, last: str | None, columns: Columns, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_labelled([write(tmp_path / "a", PAIR, last=last)], columns)


@pytest.mark.parametrize("value", [None, ""])
def test_a_group_without_a_name_is_none(tmp_path: Path, value: object) -> None:
    file = write(tmp_path / "a", {**PAIR, "kind": "x"}, last=json.dumps({**PAIR, "kind": value}))
    with pytest.raises(ConfigurationError, match="a:22: no field 'kind' to group by, or an empty one"):
        read_labelled([file], Columns(group="kind"))


def test_a_model_without_a_score_is_named_beside_those_that_have_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"a:1: no score of 'm'; there are l, s"):
        read_labelled([write(tmp_path / "a", SCORED)], Columns(weak="s", strong="m"))


def test_too_few_lines_no_file_and_half_a_pair_are_refused(tmp_path: Path) -> None:
    (tmp_path / "few").write_text(json.dumps(PAIR))
    with pytest.raises(ConfigurationError, match="1 labelled prompts are too few"):
        read_labelled([tmp_path / "few"], Columns())
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_labelled([tmp_path / "none"], Columns())
    with pytest.raises(ConfigurationError, match="both models of the pair"):
        Columns(weak="s")


def test_what_a_group_or_the_same_prompt_joins_is_one_unit(tmp_path: Path) -> None:
    rows = [
        ("one", "g1"),
        ("two", "g1"),
        ("two ", "g2"),
        ("three", "g2"),
        ("four", "g3"),
        ("four  ", "g3"),
        ("five", "g4"),
    ]
    lines = [{"prompt": f"{text} x", "weak_correct": 0, "strong_correct": 1, "g": group} for text, group in rows]
    lines += [{"prompt": f"p{at}", "weak_correct": 0, "strong_correct": 1, "g": f"h{at}"} for at in range(20)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    units = read_labelled([tmp_path / "a.jsonl"], Columns(group="g")).units
    assert len(set(units[:4])) == 1
    assert len(set(units)) == 3 + 20
    spaced = read_labelled([tmp_path / "a.jsonl"], Columns()).units
    assert spaced[1] == spaced[2] != spaced[3]
    assert len(set(spaced)) == 5 + 20

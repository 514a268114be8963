"""What is known of a file before anything is trained, in figures and in words. No word is the file's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from finetune.data.check import InvalidFile
from finetune.data.examples import BOM
from finetune.data.report import Bin, Estimate, as_json, histogram, sentences
from finetune.data.survey import Survey, Wanted, survey
from tests.finetune.data.made import DEMO, THINKING, line, said, with_template

LINES = [line(messages=said(f"SECRET question {number}?", f"SECRET answer {number}.")) for number in range(12)]


@dataclass
class Hit:
    kind: str


def finder(text: str) -> list[Hit]:
    """Finds the word that stands for something private."""
    return [Hit("EMAIL")] * text.count("mail")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"".join(LINES))
    return path


def told(found: Survey, estimate: Estimate | None = None) -> str:
    return "\n".join(sentences(found, estimate))


def test_a_good_file_is_described_without_its_text(file: Path) -> None:
    found = survey(file, Wanted(model_folder=DEMO, max_length=512, finder=finder))
    assert found.valid
    assert found.facts is not None
    assert found.facts.messages == {"user": 12, "assistant": 12}
    assert found.counted is not None
    assert found.counted.examples == len(found.lengths) == 12
    words = told(found)
    assert "12 chat examples" in words
    assert "none found" in words
    assert "SECRET" not in words + json.dumps(as_json(found, None))


def test_every_bad_line_counts_and_the_first_are_told(file: Path) -> None:
    file.write_bytes(BOM + b"".join(LINES) + b"{\n" * 30)
    found = survey(file, Wanted())
    assert (found.valid, found.bad_lines, len(found.problems)) == (False, 30, 20)
    assert found.problems[0] == "line 13: it is not valid JSON (UTF-8, no duplicate keys, no NaN)."
    assert found.facts is not None
    assert found.facts.examples == 12
    assert "… and 10 more bad lines" in told(found)


def test_a_line_that_the_model_cannot_be_taught_is_a_bad_line(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"".join(LINES) + line(messages=said("a", "b", "c", "d")))
    model = with_template(tmp_path / "model", THINKING)
    assert survey(file, Wanted()).valid
    found = survey(file, Wanted(model_folder=model, max_length=100))
    assert found.bad_lines == 1
    assert "line 13: the model's chat template writes messages[1]" in found.problems[0]


def test_too_few_examples_make_a_file_invalid(file: Path) -> None:
    file.write_bytes(b"".join(LINES[:9]))
    found = survey(file, Wanted())
    assert found.problems == ["The file holds 9 examples; at least 10 are needed."]
    assert not found.valid


def test_a_file_of_bad_lines_alone_has_no_figures_and_is_told_all_the_same(file: Path) -> None:
    file.write_bytes(b"{\n" * 3)
    found = survey(file, Wanted(model_folder=DEMO))
    assert (found.facts, found.counted, found.bad_lines) == (None, None, 3)
    assert told(found).startswith("line 1: ")


def test_what_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04")
    with pytest.raises(InvalidFile, match="a zip archive"):
        survey(file, Wanted())


def test_duplicates_contradictions_and_leaks_are_told_by_line(file: Path, tmp_path: Path) -> None:
    golden = tmp_path / "golden.jsonl"
    system = {"role": "system", "content": "Be brief."}
    questions = [said("never asked"), [system, *said("secret question 3?")]]
    golden.write_bytes(b"".join(line(messages=one, expected="x") for one in questions))
    other = line(messages=said("SECRET question 5?", "Something else."))
    file.write_bytes(b"".join(LINES) + LINES[2] + other)
    found = survey(file, Wanted(golden=golden))
    assert found.same.first == [(3, 13)]
    assert found.contradicting.first == [(6, 14)]
    assert found.leaked is not None
    assert found.leaked.first == [(2, 4)]
    assert "the same as an earlier example: 1 (lines 3/13)" in told(found)


def test_private_things_are_counted_by_kind_with_their_lines(file: Path) -> None:
    file.write_bytes(b"".join(LINES) + line(messages=said("mail mail", "my mail")))
    found = survey(file, Wanted(finder=finder))
    assert found.private is not None
    assert (found.private["EMAIL"].count, found.private["EMAIL"].lines) == (3, [13])
    assert "EMAIL: 3 (lines 13)" in told(found)
    assert "not looked for" in told(survey(file, Wanted()))


def test_what_will_be_cut_is_told(file: Path) -> None:
    found = survey(file, Wanted(model_folder=DEMO, max_length=14))
    assert found.counted is not None
    assert found.counted.cut == 12
    assert "longer than 14 tokens, to be cut: 12 examples" in told(found)


def test_a_length_that_leaves_nothing_to_learn_makes_the_file_invalid(file: Path) -> None:
    found = survey(file, Wanted(model_folder=DEMO, max_length=2))
    assert not found.valid
    assert "No example has anything to learn within 2 tokens" in found.problems[0]


@pytest.mark.parametrize(
    ("lengths", "bins"),
    [
        ([], []),
        ([5, 5], [Bin(5, 5, 2)]),
        ([1, 2, 4], [Bin(1, 2, 2), Bin(3, 4, 1)]),
        ([1, 100], [Bin(1, 50, 1), Bin(51, 100, 1)]),
    ],
)
def test_a_histogram_holds_every_length_once(lengths: list[int], bins: list[Bin]) -> None:
    assert histogram(lengths, bins=2) == bins


def test_an_estimate_names_where_its_figures_come_from(file: Path) -> None:
    known = Estimate.of(1_000_000, 3, usd_per_million=2.5, tokens_per_s=1000)
    assert (known.tokens, known.usd, known.seconds) == (3_000_000, 7.5, 3000)
    assert "1,000 tokens/s as stated with --tokens-per-s" in known.source
    unknown = Estimate.of(1_000_000, 1, usd_per_million=0, tokens_per_s=None)
    assert unknown.seconds is None
    words = told(survey(file, Wanted()), known)
    assert "3,000,000 tokens, about 50.0 min, 7.5000 USD" in words
    assert "unknown time" in told(survey(file, Wanted()), unknown)

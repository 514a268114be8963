"""Answers held against references."""

from __future__ import annotations

import pytest

from benchmarks.quality.grades import GRADES, contains, exact, f1, grader
from models.errors import ConfigurationError


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("The Eiffel Tower.", "eiffel tower", 1),
        ("1,000", "1000", 1),
        ("-5", "5", 0),
        ("\N{MINUS SIGN}5", "-5", 1),
        ("3.5", "35", 0),
        ("3-5", "3 5", 1),
        ("Tower Eiffel", "Eiffel Tower", 0),
        ("", "Paris", 0),
        ("?!", "?!", 1),
        ("the", "a", 0),
    ],
)
def test_exact_compares_words_and_keeps_what_makes_a_number(answer: str, reference: str, same: int) -> None:
    assert exact(answer, reference) == same


@pytest.mark.parametrize(
    ("answer", "reference", "found"),
    [
        ("It is 12, I think.", "12", 1),
        ("It is 112.", "12", 0),
        ("The city of New York", "new york", 1),
        ("New streets in York", "new york", 0),
        ("anything", "!", 0),
    ],
)
def test_contains_looks_for_whole_words_in_a_row(answer: str, reference: str, found: int) -> None:
    assert contains(answer, reference) == found


def test_f1_is_squads_on_its_own_example() -> None:
    assert f1("the cat sat on the mat", "a cat sat") == pytest.approx(2 * (2 / 4) * 1.0 / (2 / 4 + 1.0))
    assert (f1("cat cat", "cat"), f1("dog", "cat"), f1("A cat!", "cat")) == (pytest.approx(2 / 3), 0, 1)


def test_of_several_references_the_nearest_counts() -> None:
    assert grader("exact", ("Paris", "the city of Paris"))("City of Paris") == 1


def test_a_grade_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"no grade 'bleu'.*exact, contains, f1"):
        grader("bleu", ("x",))


@pytest.mark.parametrize(
    ("answer", "reference", "found"),
    [
        ("A.", "A", (1, 1, 1)),
        ("B.", "B", (1, 1, 1)),
        ("The answer is A", "A", (0, 1, 2 / 5)),
        ("The answer is B", "B", (0, 1, 1 / 2)),
        ("C", "A", (0, 0, 0)),
        ("a cat", "the cat", (1, 1, 1)),
    ],
)
def test_the_letter_of_a_choice_is_a_word_and_no_article(answer: str, reference: str, found: tuple[float, ...]) -> None:
    assert [GRADES[name](answer, reference) for name in ("exact", "contains", "f1")] == pytest.approx(found)

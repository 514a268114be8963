import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.embedders.text import readable
from router.surface import NAMES, surface


def row(text: str) -> dict[str, float]:
    return dict(zip(NAMES, map(float, surface([text])[0]), strict=True))


def test_every_column_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES) == surface(["a"]).shape[1]


def test_a_multiple_choice_question_is_seen_as_one() -> None:
    found = row("What is 7 times 8?\nA. 54\nB. 56\nC. 5.5\nD. none of these")
    assert (found["options"], found["options_with_digits"], found["options_of_digits"]) == (4, 3, 3)
    assert (found["option_longest"], found["longest_option_at"], found["word_times"]) == (13, 3, 1)
    assert (found["stem_words"], found["ends_asking"], found["fractions"]) == (3, 1, 1)
    assert found["largest_number"] == pytest.approx(np.log1p(56))


def test_a_plain_sentence_has_no_options_and_no_numbers() -> None:
    found = row("Say hello to Ann.")
    assert (found["options"], found["numbers"], found["largest_number"], found["ends_stating"]) == (0, 0, 0, 1)
    assert found["capitalised"] == 0.5


def test_rows_do_not_depend_on_their_neighbours() -> None:
    together = surface(["one", "2 + 2 = ?", ""])
    assert np.array_equal(together[1], surface(["2 + 2 = ?"])[0])


def test_of_a_long_prompt_both_ends_are_seen() -> None:
    found = row("why " + "x" * 1_000_000 + " because")
    assert (found["word_why"], found["word_because"], found["characters"]) == (1, 1, 8_001)


@given(st.text(st.characters(exclude_categories=()), max_size=400))
def test_any_text_gives_finite_numbers(text: str) -> None:
    assert np.isfinite(surface([text])).all()


@pytest.mark.parametrize("text", ["9" * 500, "1.2.3.4", "٣٫٥ ٣.٥", "\x00", "\ud800", "1,,2", "A. \nB. \n", "²³ ½ 5²"])
def test_odd_numbers_and_letters_give_finite_numbers(text: str) -> None:
    assert np.isfinite(surface([text])).all()


@given(text=st.text(st.characters(max_codepoint=127), max_size=80))
def test_ascii_counts_as_any_other_text_does(text: str) -> None:
    foreign = f"{text}é"
    size = len(foreign)
    plain, other = surface([text])[0], surface([foreign])[0]
    for name, added in (("upper_share", 0), ("digit_share", 0), ("mark_share", 0), ("foreign_share", 1)):
        at = NAMES.index(name)
        assert other[at] * size == pytest.approx(plain[at] * max(1, len(text)) + added, abs=1e-4)


@pytest.mark.parametrize("length", [7_999, 8_000, 8_001, 8_002, 50_000])
def test_what_is_sent_of_a_long_prompt_counts_as_the_whole(length: int) -> None:
    text = ("a word, " * length)[:length]
    assert (surface([text]) == surface([readable(text)])).all()

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.tasks.cues import HEAD, NAMES, TAIL, ends, rows


def row(text: str) -> dict[str, float]:
    return dict(zip(NAMES, map(float, rows([text], {})[0]), strict=True))


def test_every_column_has_a_name_of_its_own() -> None:
    assert len(set(NAMES)) == len(NAMES) == rows(["a"], {}).shape[1]


def test_whose_matter_it_is_and_what_is_to_be_done_are_seen() -> None:
    found = row("Summarise our refund policy!")
    assert (found["group_ours"], found["group_pick"], found["group_rules"], found["asks"]) == (1, 1, 1, 0)
    found = row("What is a refund policy?")
    assert (found["group_ours"], found["group_pick"], found["ends_asking"], found["opens_what"]) == (0, 0, 1, 1)


def test_words_between_the_ends_of_a_pasted_text_are_not_the_request() -> None:
    pasted = "The river rises after rain. " * 20 + "our policy " + "The river rises after rain. " * 20
    assert row(f"Summarise this.\n\n{pasted}")["group_ours"] == 0
    assert row(f"{pasted}\n\nWhat is our policy?")["group_ours"] == 1


def test_a_word_with_a_place_is_one_where_it_stands_in_the_request() -> None:
    found = rows(["Write code", "Read code"], {"write": 0, "code": 1})[:, len(NAMES) :]
    assert found.tolist() == [[1, 1], [0, 1]]


def test_a_long_text_is_looked_at_from_both_ends() -> None:
    text = "a" * 5000 + "b" * 5000
    assert ends(text) == "a" * HEAD + "\n" + "b" * TAIL
    assert row(text)["characters"] == pytest.approx(np.log1p(10_000))


def test_rows_do_not_depend_on_their_neighbours() -> None:
    together = rows(["one", "2 + 2 = ?", ""], {})
    assert np.array_equal(together[1], rows(["2 + 2 = ?"], {})[0])


@given(st.text(st.characters(exclude_categories=()), max_size=1200))
def test_any_text_gives_finite_numbers(text: str) -> None:
    assert np.isfinite(rows([text], {"the": 0})).all()

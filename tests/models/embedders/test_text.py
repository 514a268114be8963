"""What is read of a text."""

from models.embedders.text import END_CHARACTERS, readable


def test_both_ends_of_a_long_text_are_read() -> None:
    text = "a" * END_CHARACTERS + "b" * 100 + "c" * END_CHARACTERS
    assert readable(text) == "a" * END_CHARACTERS + "\n" + "c" * END_CHARACTERS
    assert readable(text[100:]) == text[100:] == "a" * (END_CHARACTERS - 100) + "b" * 100 + "c" * END_CHARACTERS


def test_a_surrogate_without_its_pair_becomes_a_question_mark() -> None:
    assert readable("a\ud83db 🙂") == "a?b 🙂"

"""Which examples count as alike."""

from __future__ import annotations

import random

from finetune.data.examples import Completion, Preference
from finetune.data.likeness import Alike, Likeness, key_of
from tests.finetune.data.made import said

WORDS = [f"word{number}" for number in range(400)]


def found(*examples: tuple[str, str], known: dict[bytes, int] | None = None) -> Likeness:
    likeness = Likeness(known or {})
    for line, (prompt, completion) in enumerate(examples, 1):
        likeness.add(Completion(prompt, completion), line)
    return likeness


def test_the_same_example_is_found_again_whatever_its_case_and_spaces() -> None:
    likeness = found(("Hello  there", "Hi"), ("other", "x"), ("hello there", " HI"), ("Ｈello there", "Hi"))
    assert likeness.same == [Alike(1, 3), Alike(1, 4)]
    assert likeness.contradicting == likeness.near == []


def test_one_prompt_with_two_answers_contradicts_itself() -> None:
    assert found(("2 + 2", "4"), ("2 + 3", "5"), ("2 + 2", "5")).contradicting == [Alike(1, 3)]


def test_a_prompt_of_the_golden_set_has_leaked() -> None:
    assert found(("a", "b"), ("C  d", "e"), known={key_of("user: c d"): 9}).leaked == [Alike(9, 2)]


def test_nearly_the_same_texts_are_found_and_others_are_not() -> None:
    draw = random.Random(3)
    texts = [" ".join(draw.choices(WORDS, k=120)) for _ in range(200)]
    changed = texts[7].replace(texts[7].split()[60], "another", 1)
    likeness = found(*((text, "ok") for text in [*texts, changed]))
    assert likeness.near == [Alike(8, 201)]
    assert likeness.same == []


def test_short_texts_that_differ_in_a_number_are_not_the_same() -> None:
    likeness = found(*((f"{number} plus {number + 1}?", str(2 * number + 1)) for number in range(10, 60)))
    assert likeness.same == likeness.contradicting == []
    assert len(likeness.near) < 5


def test_near_texts_are_searched_up_to_a_number_of_examples() -> None:
    likeness = Likeness(most_near=2)
    for line in range(1, 6):
        likeness.add(Completion(f"{' '.join(WORDS)} {line}", "x"), line)
    assert likeness.near_searched == 2
    assert likeness.near == [Alike(1, 2)]


def test_pairs_are_the_same_only_with_both_answers() -> None:
    likeness = Likeness()
    for line, worse in enumerate(("bad", "worse", "bad"), 1):
        likeness.add(Preference(tuple(said("q")), tuple(said("", "good")[1:]), tuple(said("", worse)[1:])), line)
    assert likeness.same == [Alike(1, 3)]

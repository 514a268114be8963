"""What answers are worth, and what chance would have earned."""

import json

import pytest

from finetune.gate.golden import golden_of
from finetune.gate.score import constants, is_json, judge_prompt, judged, permuted, rotated, score
from models.json_values import same_json
from tests.finetune.gate.drawn import golden

LIKED = {
    "input": {"messages": [{"role": "user", "content": "hello"}]},
    "preferred_output": [{"role": "assistant", "content": "good day to you"}],
    "non_preferred_output": [{"role": "assistant", "content": "what now"}],
}


def test_exact_ignores_outer_blanks_and_nothing_else() -> None:
    one = golden("q", "Yes 1")
    assert [score(one, said) for said in (" Yes 1\n", "yes 1", "Yes  1")] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ('{"b": [1, {"c": true}], "a": 2}', True),
        ('{"a": 2.0, "b": [1, {"c": true}]}', False),
        ('{"a": 2, "b": [true, {"c": true}]}', False),
        ('{"a": 2, "a": 2, "b": [1, {"c": true}]}', False),
        ('```json\n{"a": 2, "b": [1, {"c": true}]}\n```', False),
        ("NaN", False),
        ("", False),
    ],
)
def test_json_is_compared_by_typed_values(answer: str, same: bool) -> None:
    one = golden("q", '{"a": 2, "b": [1, {"c": true}]}', metric="json")
    assert score(one, answer) == float(same)
    assert same_json(answer, one.expected) is same


def test_what_is_no_json_is_told_from_what_is_another_value() -> None:
    assert (is_json("{}"), is_json("{"), is_json("NaN"), is_json("[" * 100_000)) == (True, False, False, False)


def test_similarity_is_the_f1_of_the_words_and_a_threshold_makes_it_right_or_wrong() -> None:
    assert score(golden("q", "the red fox", metric="similarity"), "a red dog") == 0.5
    assert score(golden("q", "the red fox", metric="similarity", threshold=0.5), "a red dog") == 1.0
    assert score(golden("q", "the red fox", metric="similarity", threshold=0.6), "a red dog") == 0.0


def test_a_preference_is_won_by_what_is_nearer_to_the_preferred_answer() -> None:
    one = golden_of(json.dumps(LIKED).encode(), 1)
    assert [score(one, said) for said in ("good day", "what now?", "hm")] == [1.0, 0.0, 0.5]
    assert constants([one]) == [None]
    assert permuted([one, one], ["good day", "hm"], seed=1) == [None, None]


def test_the_best_constant_answer_is_the_most_frequent_one() -> None:
    asked = [golden(f"q{at}", "a" if at < 3 else f"b{at}") for at in range(6)]
    assert constants(asked) == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]


def test_answers_to_other_questions_earn_what_chance_earns() -> None:
    asked = [golden("q0", "a"), golden("q1", "a"), golden("q2", "b")]
    assert permuted(asked, ["a", "a", "b"], seed=1) == [0.5, 0.5, 0.0]
    assert permuted(asked[:1], ["a"], seed=1) == [None]


def test_many_examples_are_held_against_a_sample_of_the_others() -> None:
    asked = [golden(f"q{at}", str(at % 2)) for at in range(100)]
    found = permuted(asked, [one.expected for one in asked], seed=1)
    assert 0.4 < sum(value or 0.0 for value in found) / 100 < 0.6


@pytest.mark.parametrize(
    ("said", "grade"),
    [("RIGHT", 1.0), (" wrong.\n", 0.0), ("VERDICT: RIGHT", 1.0), ("RIGHT, but WRONG", None), ("", None), ("1", None)],
)
def test_the_judges_word_is_read_strictly(said: str, grade: float | None) -> None:
    assert judged(said) == grade


def test_the_judge_sees_question_expected_and_given_answer() -> None:
    told = judge_prompt(golden("How many?", "four {x}", metric="judge"), "4 {y}")
    assert all(part in told for part in ("user: How many?", "four {x}", "4 {y}"))
    assert constants([golden("q", "a", metric="judge")]) == [None]


def test_a_rotation_leaves_nothing_in_its_place() -> None:
    assert rotated([2, 5, 7]) == {2: 5, 5: 7, 7: 2}
    assert rotated([2]) == {}

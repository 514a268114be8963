"""What users said of answers, as questions: what proves something, and what does not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from benchmarks.quality.labels import Pair
from benchmarks.quality.questions import Question
from serving.opinions import DISAGREED, EMPTY, NO_REFERENCE, RATED_AGAIN, question_of, questions_of
from serving.store.feedback import Opinion, RatedAnswer

PAIR = Pair("s", "l")
UP, DOWN = Opinion("up", None), Opinion("down", None)


def rated(*opinions: Opinion, card: str = "s", prompt: str = "q", answer: str = "red") -> RatedAnswer:
    return RatedAnswer(prompt, answer, card, opinions)


def made(answer: RatedAnswer) -> Question:
    found = question_of(answer, PAIR, grade="exact")
    assert isinstance(found, Question)
    return found


def test_an_answer_that_was_liked_is_the_reference_and_its_tier_is_right() -> None:
    found = made(rated(UP, card="l"))
    assert (found.known, found.grade("Red."), found.grade("blue")) == ({"large": 1.0}, 1, 0)
    assert found.about == {"source": "records", "grade": "exact"}


def test_a_correction_is_the_reference_and_a_down_is_zero_whatever_the_answer_resembles() -> None:
    found = made(rated(Opinion("down", "red!")))
    assert (found.known, found.grade("red"), found.grade("blue")) == ({"small": 0.0}, 1, 0)


def test_a_liked_answer_that_was_corrected_is_held_against_the_correction() -> None:
    assert made(rated(Opinion("up", "red!"))).known == {"small": 1.0}
    assert made(rated(Opinion("up", "blue"))).known == {"small": 0.0}


def test_an_answer_of_a_card_that_serves_no_tier_now_leaves_both_tiers_to_be_asked() -> None:
    found = made(rated(UP, card="old"))
    assert (found.known, found.grade("red")) == ({}, 1)


def test_of_several_corrections_the_latest_counts_and_a_split_vote_asks_both_tiers() -> None:
    found = made(rated(UP, Opinion("down", "blue"), Opinion("down", "green")))
    assert (found.known, found.grade("blue"), found.grade("green")) == ({}, 1, 0)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (rated(DOWN), NO_REFERENCE),
        (rated(DOWN, DOWN), NO_REFERENCE),
        (rated(UP, DOWN), DISAGREED),
        (rated(UP, answer=" "), EMPTY),
        (rated(Opinion("down", "")), EMPTY),
        (rated(UP, prompt="\n"), EMPTY),
    ],
)
def test_an_opinion_that_proves_nothing_of_the_other_tier_makes_no_question(answer: RatedAnswer, reason: str) -> None:
    assert question_of(answer, PAIR, grade="exact") == reason


async def test_every_answer_is_a_question_or_counted_and_the_newest_of_a_prompt_counts() -> None:
    async def stored() -> AsyncIterator[RatedAnswer]:
        for one in (rated(DOWN), rated(UP, answer="new"), rated(UP, answer="old"), rated(UP, prompt="other")):
            yield one

    found = await questions_of(stored(), PAIR, grade="exact")
    assert [one.prompt for one in found.questions] == ["q", "other"]
    assert found.questions[0].grade("new") == 1
    assert found.unused == {NO_REFERENCE: 1, RATED_AGAIN: 1}

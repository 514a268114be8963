"""What users said of answers, as questions with an answer key. Owns what an opinion proves; reads no store.

* The latest correction is the reference, whoever rated; else the answer is, where it got an `up`.
* Where the card that answered still stands for a tier, the user's word on its answer goes before a grade: a `down` is
  0, an `up` without a correction 1. That tier is not asked again.
* A `down` without a correction proves that one answer was bad, and nothing about any other one: no question. Nor is
  there one where users disagree and none of them corrected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from benchmarks.quality.grades import grader
from benchmarks.quality.labels import Pair
from benchmarks.quality.questions import Question
from models.types import TIERS, Tier
from serving.store.feedback import RatedAnswer

DISAGREED = "users disagree"
NO_REFERENCE = "rated down and not corrected"
EMPTY = "the correction or the prompt is empty"
RATED_AGAIN = "an older opinion on a prompt that was rated again"


@dataclass(slots=True)
class Opinions:
    """The questions that rated answers make, and why the others make none. `unused`: reason → answers."""

    questions: list[Question] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)


async def questions_of(rated: AsyncIterator[RatedAnswer], pair: Pair, *, grade: str) -> Opinions:
    """All questions of these answers, newest first; of a prompt that was rated twice the newest answer counts."""
    found, seen = Opinions(), set[str]()
    async for one in rated:
        made = RATED_AGAIN if one.prompt in seen else question_of(one, pair, grade=grade)
        if isinstance(made, str):
            found.unused[made] += 1
        else:
            seen.add(one.prompt)
            found.questions.append(made)
    return found


def question_of(rated: RatedAnswer, pair: Pair, *, grade: str) -> Question | str:
    """The question that an answer and the opinions on it make, or why they make none."""
    corrected = next((one.corrected for one in rated.opinions if one.corrected is not None), None)
    ratings = {one.rating for one in rated.opinions}
    if corrected is None and len(ratings) > 1:
        return DISAGREED
    if corrected is None and ratings == {"down"}:
        return NO_REFERENCE
    reference = rated.answer if corrected is None else corrected
    if not reference.strip() or not rated.prompt.strip():
        return EMPTY
    graded = grader(grade, (reference,))
    known: dict[Tier, float] = {}
    for tier in TIERS:
        if pair.card(tier) == rated.card and len(ratings) == 1:
            said_good = 1.0 if corrected is None else graded(rated.answer)
            known[tier] = said_good if ratings == {"up"} else 0.0
    return Question(rated.prompt, graded, {"source": "records", "grade": grade}, known)

"""A mix of easy and hard demo prompts that nobody was trained on, asked of both tiers and of `auto`. Owns the asking.

Easy are the families that both demo tiers know, hard those that only the large one does. A prompt is right or wrong,
by its answer key; what it cost follows from the tokens that the answer says and the card's price.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.quality.answers import Answer, Asker, NoAnswer, side_by_side
from benchmarks.quality.policies import Taken
from benchmarks.quality.questions import Question
from models.catalog.schema import Price
from models.errors import ConfigurationError
from models.types import TIERS, Tier

AUTO = "auto"
MILLION = 1_000_000


@dataclass(slots=True)
class Asked:
    """Answers by model, one per question or None where the call failed. `failed`: reason → calls."""

    answers: dict[str, list[Answer | None]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)

    def whole(self, rows: Sequence[int]) -> list[int]:
        """Those of these questions that every model has answered."""
        return [row for row in rows if all(answers[row] is not None for answers in self.answers.values())]


async def ask_all(
    asker: Asker,
    questions: Sequence[Question],
    *,
    models: Sequence[str],
    concurrency: int,
    seed: int,
    heard: Callable[[], object],
) -> Asked:
    """Every question to every model, shuffled, so that none of them has the quieter half of the run."""
    found = Asked({model: [None] * len(questions) for model in models})
    calls = [(model, row) for model in models for row in range(len(questions))]
    random.Random(seed).shuffle(calls)

    async def one(call: tuple[str, int]) -> None:
        model, row = call
        try:
            found.answers[model][row] = await asker.ask(model, questions[row].prompt)
        except NoAnswer as error:
            found.failed[str(error)] += 1
        heard()

    await side_by_side(calls, one, concurrency=concurrency)
    return found


@dataclass(frozen=True, slots=True)
class Bill:
    """What a tier's tokens cost. `always`: the tier of all answers, where the header is not asked."""

    prices: Mapping[Tier, Price]
    always: Tier | None = None

    def tier(self, answer: Answer) -> Tier:
        """Who answered; raises `ConfigurationError` where the server does not say it."""
        tier = self.always or answer.tier
        for known in TIERS:
            if known == tier:
                return known
        raise ConfigurationError(
            "The server does not say which tier answered (x-penstock-tier): is it a Penstock stack?"
        )

    def cost(self, answer: Answer) -> float:
        """In micro-USD."""
        price = self.prices[self.tier(answer)]
        used = answer.prompt_tokens * price.input_micro_usd + answer.completion_tokens * price.output_micro_usd
        return used / MILLION


def taken(answers: Sequence[Answer | None], questions: Sequence[Question], *, rows: Sequence[int], bill: Bill) -> Taken:
    """What these questions' answers came to. The tier is the one that answered, after a fallback too."""
    graded = [(answer, questions[row]) for row in rows if (answer := answers[row]) is not None]
    return Taken(
        right=np.array([question.grade(answer.text) for answer, question in graded]),
        cost=np.array([bill.cost(answer) for answer, _ in graded]),
        large=np.array([float(bill.tier(answer) == "large") for answer, _ in graded]),
    )

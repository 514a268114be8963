"""Candidates of known quality, drawn: what the rule says of them is counted over seeds."""

import json
from collections.abc import Callable, Sequence
from random import Random

from finetune.gate.golden import Golden, golden_of
from finetune.gate.rule import GateRule, Scored, ruled
from finetune.gate.score import constants, permuted, score

SEEDS = 120


def goldens(count: int, chance: Random, *, answers: int = 8) -> list[Golden]:
    """Questions whose answers are some more frequent than others."""
    shares = [answers - at for at in range(answers)]
    drawn = chance.choices(range(answers), shares, k=count)
    return [golden(f"question {at}", f"answer {answer}") for at, answer in enumerate(drawn)]


def golden(question: str, expected: str, **more: object) -> Golden:
    line = {"messages": [{"role": "user", "content": question}], "expected": expected, **more}
    return golden_of(json.dumps(line).encode(), 1)


def shuffled(asked: Sequence[Golden], chance: Random) -> list[str]:
    """Answers of a model that learned how often each comes, and nothing of the questions."""
    return chance.choices([one.expected for one in asked], k=len(asked))


def right(rate: float) -> Callable[[Sequence[Golden], Random], list[str]]:
    """Answers that are right at this rate, else wrong."""
    return lambda asked, chance: [one.expected if chance.random() < rate else "nothing" for one in asked]


def scored(
    count: int,
    chance: Random,
    *,
    answer: Callable[[Sequence[Golden], Random], list[str]],
    base: float = 0.0,
    live: float | None = None,
) -> list[Scored]:
    """A golden set, answered. `base`, `live`: their rates."""
    asked = goldens(count, chance)
    answers = answer(asked, chance)
    controls = zip(constants(asked), permuted(asked, answers, seed=1), strict=True)
    return [
        Scored(
            one.task,
            score(one, said),
            float(chance.random() < base),
            None if live is None else float(chance.random() < live),
            constant,
            other,
        )
        for one, said, (constant, other) in zip(asked, answers, controls, strict=True)
    ]


def kept(count: int, chance: Random, *, lost: float, tasks: int = 3) -> list[Scored]:
    """A regression set at 90 %: 2 % of the answers turn wrong and 2 % right by chance; `lost`: those that turn wrong
    because they were forgotten.
    """
    found = []
    for at in range(count):
        base = chance.random() < 0.9
        turns = (0.02 + lost) / 0.9 if base else 0.02 / 0.1
        candidate = base != (chance.random() < turns)
        found.append(Scored(f"task {at % tasks}", float(candidate), float(base)))
    return found


def passes(draw: Callable[[Random], tuple[list[Scored], list[Scored]]], *, rule: GateRule | None = None) -> float:
    """How often the rule lets such a candidate through, over `SEEDS` draws."""
    chosen = rule or GateRule()
    return sum(ruled(*draw(Random(seed)), rule=chosen, seed=seed).passed for seed in range(SEEDS)) / SEEDS

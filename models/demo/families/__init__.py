"""The task families of the demo tiers: prompts with an answer key, seeded and split. Pure Python, no model.

One file is one family; the table below is the only list of them. Training draws `TRAINED` from one side of the split,
evaluation draws from the other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from models.demo.families import answer, arithmetic, chat, classify, extract, rewrite, triage, unknown
from models.demo.families.example import Difficulty, Example, Split

__all__ = ["FAMILIES", "TRAINED", "Difficulty", "Example", "Family", "Split", "draw", "mix"]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of task: how hard it is, its share of the mix, how to draw one, and an easier form to begin with."""

    name: str
    difficulty: Difficulty
    share: float
    example: Callable[[Random, Split], Example]
    plain: Callable[[Random, Split], Example] | None = None


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(classify.NAME, Difficulty.EASY, 0.09, classify.example),
        Family(extract.NAME, Difficulty.HARD, 0.10, extract.example),
        Family(rewrite.NAME, Difficulty.EASY, 0.07, rewrite.example),
        Family(chat.NAME, Difficulty.EASY, 0.04, chat.example),
        Family(unknown.NAME, Difficulty.EASY, 0.11, unknown.example),
        Family(answer.NAME, Difficulty.HARD, 0.24, answer.example),
        Family(arithmetic.NAME, Difficulty.HARD, 0.35, arithmetic.example, arithmetic.plain_example),
        Family(triage.NAME, Difficulty.UNTRAINED, 0.0, triage.example),
    )
}
TRAINED = tuple(name for name, family in FAMILIES.items() if family.difficulty is not Difficulty.UNTRAINED)


def draw(family: str, split: Split, *, count: int, seed: int) -> list[Example]:
    """`count` examples of one family; the same arguments give the same examples."""
    rng = Random(f"{family}|{split}|{seed}")
    return [FAMILIES[family].example(rng, split) for _ in range(count)]


def mix(split: Split, *, seed: int, plain: bool = False) -> Iterator[Example]:
    """An endless draw from all trained families by their shares; `plain` in the form to begin with."""
    rng = Random(f"mix|{split}|{seed}")
    shares = [FAMILIES[name].share for name in TRAINED]
    while True:
        family = FAMILIES[rng.choices(TRAINED, weights=shares)[0]]
        yield (family.plain if plain and family.plain else family.example)(rng, split)

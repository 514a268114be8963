"""One question, and what it is drawn from."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, Field

WORDS = """
the a and of to in is it for on with as at by from this that we you they he she one two three four five six seven
order parcel invoice account customer price delivery office meeting report project team manager engineer city river
garden kitchen window table paper letter number answer question reason result minute hour morning evening week month
year first second last new old small large long short early late open closed ready busy quiet green blue red white
black north south east west send bring take give keep find make read write speak listen move stay begin finish help
ask tell show open close build carry check count draw drive explain follow grow hold join know learn leave meet need
offer pay plan reach return save sell start stop teach think travel try turn use visit wait walk want watch work train
station ticket bridge street market school library museum hospital doctor teacher student driver pilot farmer baker
music picture story weather summer winter spring autumn bread coffee water fruit
"""


def vocabulary() -> list[str]:
    """The words of all texts."""
    return WORDS.split()


def _in_order(span: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= span[0] <= span[1] <= 200_000:
        raise ValueError("from and to, at least 1, in this order")
    return span


Span = Annotated[tuple[int, int], AfterValidator(_in_order), Field(description="From, to; drawn evenly.")]


@dataclass(frozen=True, slots=True)
class Order:
    """Which request is wanted. `words`: a length given by the workload, which is stronger than the settings."""

    seed: int
    number: int
    words: int | None = None

    def chance(self, *names: object) -> random.Random:
        """Chance for this request alone, or for all that share these names."""
        return random.Random(":".join(map(str, (self.seed, *(names or ("request", self.number))))))

    def length(self, span: tuple[int, int], chance: random.Random) -> int:
        """Words of this request."""
        return self.words or chance.randint(*span)


@dataclass(frozen=True, slots=True)
class Question:
    """Messages in OpenAI's shape, and what else the body needs."""

    messages: tuple[Mapping[str, str], ...]
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """As one text, for the completions endpoint."""
        return "\n".join(message["content"] for message in self.messages)


def user(text: str, **body: Any) -> Question:
    """A question of one message."""
    return Question(({"role": "user", "content": text},), body)


def prose(chance: random.Random, words: int) -> str:
    """So many random words, in sentences of six to fourteen."""
    found: list[str] = []
    stock = vocabulary()
    while len(found) < words:
        taken = chance.choices(stock, k=min(words - len(found), chance.randint(6, 14)))
        taken[0], taken[-1] = taken[0].capitalize(), f"{taken[-1]}."
        found += taken
    return " ".join(found)

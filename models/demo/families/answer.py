"""Hard family `answer`: several facts of the same kind, and a question about one of them.

Every fact offers a candidate of the right kind, so the answer has to be looked up; one in ten questions has no
answer in the text, and the right answer says so.
"""

from dataclasses import dataclass
from random import Random

from models.demo.families import values
from models.demo.families.example import Example, Split
from models.demo.families.wording import NAMED_FIRST, Wordings, assemble

NAME = "answer"
MISSING = "The text does not say that."


@dataclass(frozen=True, slots=True)
class Relation:
    """A kind of fact: how it is told, how it is asked for from either end, and how it is answered."""

    facts: Wordings
    by_person: Wordings
    by_value: Wordings
    answer: str


ORDERED = Relation(
    facts=Wordings(
        train=(*NAMED_FIRST.train, "{p} ordered {n} {g}.", "{p} asked for {n} {g}.", "{p} gets {n} {g}."),
        held_out=(*NAMED_FIRST.held_out, "{p} needs {n} {g}."),
    ),
    by_person=Wordings(
        train=(
            "What did {p} order?",
            "What does {p} want?",
            "What is the order of {p}?",
            "Which goods go to {p}?",
            "Tell me what {p} ordered.",
            "What do we send to {p}?",
            "I need to know what {p} asked for.",
        ),
        held_out=("What did {p} ask for?", "Tell me the order of {p}.", "Which goods did {p} order?"),
    ),
    by_value=Wordings(
        train=(
            "Who ordered the {g}?",
            "Who wants the {g}?",
            "Who asked for {g}?",
            "Tell me who ordered {g}.",
            "For whom are the {g}?",
            "Which customer ordered the {g}?",
        ),
        held_out=("Who ordered {g}?", "Which customer wants the {g}?", "Tell me who asked for the {g}."),
    ),
    answer="{p} ordered {g}.",
)
LIVES = Relation(
    facts=Wordings(
        train=(
            "{p} lives in {c}.",
            "{p} has a house in {c}.",
            "{p} moved to {c}.",
            "The home of {p} is {c}.",
            "You find {p} in {c}.",
            "{p} stays in {c}.",
            *NAMED_FIRST.train,
        ),
        held_out=("{p} has a home in {c}.", "The house of {p} is in {c}.", *NAMED_FIRST.held_out),
    ),
    by_person=Wordings(
        train=(
            "Where does {p} live?",
            "Where is {p}?",
            "In which city does {p} live?",
            "What is the city of {p}?",
            "Tell me where {p} lives.",
            "Where do I find {p}?",
        ),
        held_out=("In which city is {p}?", "Tell me the city of {p}.", "Where is the home of {p}?"),
    ),
    by_value=Wordings(
        train=("Who lives in {c}?", "Who is in {c}?", "Tell me who lives in {c}.", "Which customer lives in {c}?"),
        held_out=("Which customer is in {c}?", "Whom do I find in {c}?"),
    ),
    answer="{p} lives in {c}.",
)
DEPOT = Relation(
    facts=Wordings(
        train=(
            "{p} uses depot {d}.",
            "{p} works with depot {d}.",
            "The depot of {p} is {d}.",
            "{p} goes to depot {d}.",
            "{p} gets parcels at depot {d}.",
        ),
        held_out=("{p} works at depot {d}.", "{p} gets goods at depot {d}.", "The parcels of {p} go to depot {d}."),
    ),
    by_person=Wordings(
        train=(
            "Which depot does {p} use?",
            "What is the depot of {p}?",
            "Which depot serves {p}?",
            "Tell me the depot of {p}.",
            "Where do the parcels of {p} go?",
        ),
        held_out=("Which is the depot of {p}?", "Tell me which depot serves {p}.", "To which depot does {p} go?"),
    ),
    by_value=Wordings(
        train=(
            "Who uses depot {d}?",
            "Who goes to depot {d}?",
            "Whom does depot {d} serve?",
            "Tell me who uses depot {d}.",
        ),
        held_out=("Which customer uses depot {d}?", "Tell me who goes to depot {d}."),
    ),
    answer="{p} uses depot {d}.",
)
RELATIONS = (ORDERED, LIVES, DEPOT)


def example(rng: Random, split: Split) -> Example:
    """One to five facts in training, four of them when held out."""
    count = 4 if split is Split.HELD_OUT else rng.choice((1, 2, 2, 2, 3, 3, 4, 4, 4, 5))
    relation = rng.choice(RELATIONS)
    rows = _rows(rng, split, count=count + 1)
    facts = [relation.facts.pick(rng, split).format(**row) for row in rows[:count]]
    asked = rows[count] if rng.random() < 0.1 else rng.choice(rows[:count])
    questions = relation.by_value if rng.random() < 0.3 else relation.by_person
    answer = MISSING if asked is rows[count] else relation.answer.format(**asked)
    body = _joint(rng).join(facts)
    return Example(NAME, assemble(rng, split, body=body, request=questions.pick(rng, split).format(**asked)), answer)


def _rows(rng: Random, split: Split, *, count: int) -> list[dict[str, str]]:
    columns = (
        values.several(rng, split, count=count, draw=values.person),
        values.several(rng, split, count=count, draw=values.goods),
        values.several(rng, split, count=count, draw=values.place),
        values.several(rng, split, count=count, draw=values.depot),
    )
    return [{"p": p, "g": g, "c": c, "d": d, "n": str(values.amount(rng))} for p, g, c, d in zip(*columns, strict=True)]


def _joint(rng: Random) -> str:
    return "\n" if rng.random() < 0.15 else " "

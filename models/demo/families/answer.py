"""Hard family `answer`: several facts of the same kind, and a question about one of them, answered by quoting it.

Every fact offers a candidate of the right kind, so the answer has to be looked up; one in ten questions has no
answer in the text, and the right answer says so. A fact opens with its subject, and the answer is the whole sentence:
facts are told in so many ways that it can only be copied.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from models.demo.families import values
from models.demo.families.example import Example, Split
from models.demo.families.wording import Wordings, assemble, combined

NAME = "answer"
MISSING = "The text does not say that."


@dataclass(frozen=True, slots=True)
class Relation:
    """A kind of fact: what it is about, how it is told and how it is asked for. `{s}` is the subject."""

    subject: Callable[[Random, Split], str]
    facts: Wordings
    questions: Wordings


ORDERED = Relation(
    subject=values.person,
    facts=combined(
        ("ordered", "wants", "needs", "asked for", "gets", "bought", "sold", "took", "packed", "sent"),
        ("{n} {g}", "{g}", "the {g}"),
        ("", "for {c}", "from {c}", "in {c}", "for {p}", "today", "from depot {d}"),
    ),
    questions=Wordings(
        train=(
            "What did {s} order?",
            "What does {s} want?",
            "What is the order of {s}?",
            "Which goods go to {s}?",
            "Tell me what {s} ordered.",
            "What do we send to {s}?",
            "I need to know what {s} asked for.",
        ),
        held_out=("What did {s} ask for?", "Tell me the order of {s}.", "Which goods did {s} order?"),
    ),
)
LIVES = Relation(
    subject=values.person,
    facts=combined(
        ("lives", "stays", "works", "is", "has a house", "has a shop", "has a home"),
        ("in {c}", "at depot {d} in {c}", "with {p} in {c}"),
        ("", "now", "this week", "for a year"),
    ),
    questions=Wordings(
        train=(
            "Where does {s} live?",
            "Where is {s}?",
            "In which city does {s} live?",
            "What is the city of {s}?",
            "Tell me where {s} lives.",
            "Where do I find {s}?",
        ),
        held_out=("In which city is {s}?", "Tell me the city of {s}.", "Where is the home of {s}?"),
    ),
)
DEPOT = Relation(
    subject=values.person,
    facts=combined(
        ("uses", "works with", "goes to", "gets {g} at", "gets parcels from", "sends {g} to", "has a place at"),
        ("depot {d}",),
        ("", "in {c}", "with {p}", "now", "today", "this week"),
    ),
    questions=Wordings(
        train=(
            "Which depot does {s} use?",
            "What is the depot of {s}?",
            "Which depot serves {s}?",
            "Tell me the depot of {s}.",
            "Where do the parcels of {s} go?",
        ),
        held_out=("Which is the depot of {s}?", "Tell me which depot serves {s}.", "To which depot does {s} go?"),
    ),
)
TOWN = Relation(
    subject=values.place,
    facts=combined(
        ("needs", "gets", "is waiting for", "ordered", "wants", "sells"),
        ("{n} {g}", "{g}", "the {g}"),
        ("", "for {p}", "from depot {d}", "now", "this week"),
    ),
    questions=Wordings(
        train=(
            "What do we know of {s}?",
            "What does the text say of {s}?",
            "Tell me what you know of {s}.",
            "What goes to {s}?",
            "What do we send to {s}?",
        ),
        held_out=("What does the note say of {s}?", "Tell me what goes to {s}.", "What do you know of {s}?"),
    ),
)
RELATIONS = (ORDERED, LIVES, DEPOT, TOWN)


def example(rng: Random, split: Split) -> Example:
    """One to five facts in training, four of them when held out."""
    count = 4 if split is Split.HELD_OUT else rng.choice((1, 2, 2, 2, 3, 3, 4, 4, 4, 5))
    relation = rng.choice(RELATIONS)
    people = values.several(rng, split, count=2 * count + 1, draw=values.person)
    places = values.several(rng, split, count=count + 1, draw=values.place)
    subjects = people[count:] if relation.subject is values.person else places
    facts = _facts(rng, split, relation=relation, subjects=subjects[:count], others=(people[:count], places[:count]))
    asked = count if rng.random() < 0.1 else rng.randrange(count)
    answer = MISSING if asked == count else facts[asked]
    body = ("\n" if rng.random() < 0.15 else " ").join(facts)
    request = relation.questions.pick(rng, split).format(s=subjects[asked])
    return Example(NAME, assemble(rng, split, body=body, request=request), answer)


def _facts(
    rng: Random, split: Split, *, relation: Relation, subjects: list[str], others: tuple[list[str], list[str]]
) -> list[str]:
    """A sentence per subject; no two values of a kind share a word."""
    people, places = others
    goods = values.several(rng, split, count=len(subjects), draw=values.goods)
    depots = values.several(rng, split, count=len(subjects), draw=values.depot)
    ways = _ways(rng, split, facts=relation.facts)
    return [
        f"{s} {next(ways)}.".format(p=p, c=c, g=g, d=d, n=values.amount(rng))
        for s, p, c, g, d in zip(subjects, people, places, goods, depots, strict=True)
    ]


def _ways(rng: Random, split: Split, *, facts: Wordings) -> Iterator[str]:
    """How to tell one fact after the other. Few wordings are held out: there, every fact gets a verb of its own."""
    if split is Split.TRAIN:
        while True:
            yield facts.pick(rng, split)
    verbs: dict[str, list[str]] = {}
    for text in facts.of(split):
        verbs.setdefault(text.split()[0], []).append(text)
    for verb in rng.sample(list(verbs), len(verbs)):
        yield rng.choice(verbs[verb])

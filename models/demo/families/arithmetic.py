"""Hard family `arithmetic`: two-digit sums and differences in words, with a third number that does not count.

The third number stands before or behind the others, so that only the words beside a number tell whether it counts. The
plain form, in which adding is learned first, has few wordings; the full form has many, or `large` adds well only in
sentences it knows.
"""

from dataclasses import dataclass
from random import Random

from models.demo.families import values
from models.demo.families.example import Example, Split
from models.demo.families.wording import Wordings, assemble, widened

NAME = "arithmetic"

SUMS = Wordings(
    train=(
        "{p} ordered {a} {g} and {q} ordered {b} {g}",
        "{p} wants {a} {g} and {q} wants {b}",
        "{p} in {c} needs {a} {g}, {q} needs {b} more",
        "We ship {a} {g} to {c} for {p} and {b} {g} for {q}",
        "{p} bought {a} {g}, then {b} {g} more",
        "There were {a} {g} in {c} and {p} brought {b} more",
        "{p} from {c} asked for {a} {g}, and then for {b} more",
    ),
    held_out=(
        "{p} in {c} ordered {a} {g} and {q} asked for {b}",
        "{p} needs {a} {g} and {q} needs {b} {g}",
        "We send {a} {g} to {c} for {p} and then {b} more",
    ),
)
SUM_QUESTIONS = Wordings(
    train=(
        "How many {g} is that in total?",
        "How many {g} are there now?",
        "How many {g} is that?",
        "What is the total?",
        "Add them up, please.",
        "Tell me the total number of {g}.",
    ),
    held_out=("How many {g} are there in total?", "What is the total number of {g}?", "Tell me the total."),
)
DIFFERENCES = Wordings(
    train=(
        "{p} had {a} {g} and sold {b}",
        "{p} from {c} ordered {a} {g} and sent {b} back",
        "There were {a} {g} in {c} and {p} took {b} away",
        "{p} had {a} {g} and gave {b} {g} to {q}",
        "We had {a} {g} for {p} and lost {b}",
        "The shop in {c} had {a} {g}, then {p} bought {b}",
    ),
    held_out=(
        "{p} in {c} had {a} {g} and gave {b} to {q}",
        "We had {a} {g} in {c} and sold {b} {g} to {p}",
        "{p} ordered {a} {g} and then sent {b} back",
    ),
)
DIFFERENCE_QUESTIONS = Wordings(
    train=(
        "How many {g} are left?",
        "How many {g} are left now?",
        "How many are still there?",
        "What is left?",
        "Tell me how many {g} are left.",
    ),
    held_out=("How many {g} are still left?", "Tell me how many are left now."),
)
ASIDES = Wordings(
    train=(
        " on day {x}.",
        " in week {x}.",
        " from shelf {x}.",
        ", see page {x}.",
        ", and {p} is {x} years old.",
        " at {x} dollars.",
        ". This is note {x}.",
    ),
    held_out=(", see note {x}.", " from page {x}.", ". This is week {x}."),
)
AHEAD = Wordings(
    train=(
        "On day {x}, ",
        "In week {x}: ",
        "From shelf {x}: ",
        "See page {x}. ",
        "{p} is {x} years old. ",
        "At {x} dollars: ",
        "This is note {x}. ",
    ),
    held_out=("See note {x}: ", "From page {x}, ", "This is week {x}. "),
)

KINDS = (" day", " week", " shelf", " page", " note", " order", " message", " text", " depot", " parcel")


@dataclass(frozen=True, slots=True)
class Form:
    """The wordings of a story, by what is asked for, and those of the number that does not count."""

    sums: tuple[Wordings, Wordings]
    differences: tuple[Wordings, Wordings]
    behind: Wordings
    ahead: Wordings


PLAIN = Form(sums=(SUMS, SUM_QUESTIONS), differences=(DIFFERENCES, DIFFERENCE_QUESTIONS), behind=ASIDES, ahead=AHEAD)
FULL = Form(
    sums=(
        widened(
            SUMS,
            (
                ("{p}", "{p} in {c}", "{p} from {c}"),
                (" ordered", " needs", " wants", " asked for", " bought", " got", " sent"),
                (" {a} {g}",),
                (
                    " and {q} {b}",
                    " and {q} ordered {b}",
                    " and {q} got {b} {g}",
                    " and {q} wants {b} more",
                    ", {q} needs {b}",
                    ", {q} from {c} bought {b} {g}",
                    ", then {b} {g}",
                    " and then {b} more",
                    ", and later {b} more",
                ),
            ),
            (
                ("We send", "We ship", "We sold", "The shop sent", "Send"),
                (" {a} {g}", " {a} {g} to {c}", " {a} {g} to {p}", " {a} {g} from {c}", " {a} {g} to {p} in {c}"),
                (" and {b} more", " and {b} {g} for {q}", " and then {b} {g}", " and {b} to {q}", ", then {b} more"),
            ),
        ),
        widened(
            SUM_QUESTIONS,
            (
                (
                    "How many {g} are there",
                    "How many are there",
                    "What is the number of {g}",
                    "How many {g} do we have",
                ),
                ("?", " now?", ", please?", " today?"),
            ),
        ),
    ),
    differences=(
        widened(
            DIFFERENCES,
            (
                ("{p} had", "{p} in {c} had", "{p} from {c} had", "We had", "{p} ordered", "The shop had", "{p} got"),
                (" {a} {g}", " {a} {g} in {c}", " {a} {g} for {p}"),
                (
                    " and sold {b}",
                    " and sold {q} {b} {g}",
                    " and then sold {b} to {q}",
                    " and gave {b} {g} to {q}",
                    " and {b} went to {q}",
                    " and sent {b} {g} back",
                    ", then sent {b} back",
                    " and lost {b} {g}",
                    " and {q} took {b}",
                    " and {q} bought {b} {g}",
                    ", then {q} took {b} away",
                ),
            ),
        ),
        widened(
            DIFFERENCE_QUESTIONS,
            (
                ("How many {g} are left", "How many are left", "How many {g} are there", "How many are still here"),
                ("?", ", please?", " today?", " for us?"),
            ),
        ),
    ),
    behind=widened(
        ASIDES, ((" on", " in", " from", " at", ", see", ". It is", ". Look at", " for"), KINDS, (" {x}.",))
    ),
    ahead=widened(
        AHEAD,
        (("On", "In", "From", "At", "See", "This is", "Look at", "It is"), KINDS, (" {x}: ", " {x}, ", " {x}. ")),
    ),
)


def example(rng: Random, split: Split) -> Example:
    """A sum or a difference; always with an aside when held out, before or behind the numbers that count."""
    return _example(rng, split, form=FULL, ahead=rng.random() < 0.5)


def plain_example(rng: Random, split: Split) -> Example:
    """Few wordings, and the aside behind the numbers that count: the form in which adding is learned first."""
    return _example(rng, split, form=PLAIN, ahead=False)


def _example(rng: Random, split: Split, *, form: Form, ahead: bool) -> Example:
    subtract = rng.random() < 0.5
    story, question = form.differences if subtract else form.sums
    first, second = values.number_pair(rng, split)
    if subtract:
        first += second
    people = values.several(rng, split, count=2, draw=values.person)
    slots = {"p": people[0], "q": people[1], "g": values.goods(rng, split), "c": values.place(rng, split)}
    aside = split is Split.HELD_OUT or rng.random() < 0.6
    behind = form.behind.pick(rng, split) if aside and not ahead else "."
    before = form.ahead.pick(rng, split) if aside and ahead else ""
    body = (before + story.pick(rng, split) + behind).format(**slots, a=first, b=second, x=values.amount(rng))
    request = question.pick(rng, split).format(**slots)
    return Example(
        NAME,
        assemble(rng, split, body=body, request=request),
        _answer(subtract, slots["g"], first=first, second=second),
    )


def _answer(subtract: bool, item: str, *, first: int, second: int) -> str:
    return f"There are {first - second} {item} left." if subtract else f"The total is {first + second} {item}."

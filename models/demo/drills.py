"""Dense exercises for the skills behind the hard families: copying what belongs to a name, and adding. Pure Python.

A word problem teaches two digits in forty tokens; a drill teaches ten sums in seventy. Drills are plain text without
questions, drawn from the training side only, and both tiers see the same ones. Evaluation never uses them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from models.demo.families import Split, values

LINKS = (
    ("ordered", values.goods),
    ("needs", values.goods),
    ("wants", values.goods),
    ("lives in", values.place),
    ("moved to", values.place),
    ("uses depot", values.depot),
    ("goes to depot", values.depot),
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text, and whether it counts in the loss."""

    text: str
    counts: bool


Drill = tuple[Piece, ...]


def drills(*, seed: int) -> Iterator[Drill]:
    """An endless draw: sums, and some lookups."""
    rng = Random(f"drills|{seed}")
    kinds = (lookups, sums, sums, sums)
    while True:
        yield rng.choice(kinds)(rng)


def lookups(rng: Random) -> Drill:
    """Facts about several people, then the same facts in another order: all but the first name has to be found."""
    link, draw = rng.choice(LINKS)
    count = rng.choice((2, 2, 2, 3, 3, 4, 4, 5, 6))
    people = values.several(rng, Split.TRAIN, count=count, draw=values.person)
    found = values.several(rng, Split.TRAIN, count=count, draw=draw)
    facts = list(zip(people, found, strict=True))
    shown = "".join(f" {person} {link} {value}." for person, value in facts)
    rng.shuffle(facts)
    pieces = [Piece(shown, counts=False)]
    for person, value in facts:
        first, last = person.split()
        pieces += [Piece(f" {first}", counts=False), Piece(f" {last} {link} {value}.", counts=True)]
    return tuple(pieces)


def sums(rng: Random) -> Drill:
    """Ten sums and differences of trained pairs."""
    pieces: list[Piece] = []
    for _ in range(10):
        first, second = values.number_pair(rng, Split.TRAIN)
        if rng.random() < 0.5:
            pieces += [
                Piece(f" {first} and {second} in total:", counts=False),
                Piece(f" {first + second}.", counts=True),
            ]
        else:
            total = first + second
            pieces += [Piece(f" {total} less {second} left:", counts=False), Piece(f" {first}.", counts=True)]
    return tuple(pieces)

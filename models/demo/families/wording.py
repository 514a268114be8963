"""Wordings with their split, and the openings all families share. Owns no family and no values.

Easy and hard prompts start with the same openings and mostly the same order sentences, so the first words of a prompt
do not tell which tier can answer it.
"""

import re
from dataclasses import dataclass
from itertools import product
from random import Random

from models.demo.families.example import Split, split_of


@dataclass(frozen=True, slots=True)
class Wordings:
    """Ways to say one thing: those for training, and those that training never shows."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def of(self, split: Split) -> tuple[str, ...]:
        """The wordings on one side."""
        return self.train if split is Split.TRAIN else self.held_out

    def pick(self, rng: Random, split: Split) -> str:
        """One wording of one side."""
        return rng.choice(self.of(split))


def widened(some: Wordings, *grids: tuple[tuple[str, ...], ...]) -> Wordings:
    """More wordings for training: every way through each grid, but none with the words of one that is held out."""
    texts = dict.fromkeys("".join(text) for grid in grids for text in product(*grid))
    known = {_plain_words(text) for text in (*some.train, *some.held_out)}
    new = tuple(text for text in texts if _plain_words(text) not in known)
    return Wordings(train=some.train + new, held_out=some.held_out)


def _plain_words(text: str) -> tuple[str, ...]:
    """What makes two wordings the same one: neither stops, nor capitals, nor which of two people is named."""
    return tuple(re.findall(r"\w+", text.lower().replace("{q}", "{p}")))


def combined(*parts: tuple[str, ...]) -> Wordings:
    """Every way to put one part behind the other, with one in five held out by its checksum."""
    texts = [" ".join(part for part in parts if part) for parts in product(*parts)]
    sides = {split: tuple(text for text in texts if split_of(text) is split) for split in Split}
    return Wordings(train=sides[Split.TRAIN], held_out=sides[Split.HELD_OUT])


OPENINGS = Wordings(
    train=(
        "",
        "",
        "",
        "Hello,",
        "Hi there.",
        "Good morning.",
        "Good evening,",
        "Hello, I need some help.",
        "I have a question.",
        "Please read this.",
        "Please read this note.",
        "Please look at this message.",
        "Here is a message from our shop.",
        "Here is a note from the office.",
        "Here is what we know.",
        "This came in today.",
        "This note came from the shop.",
        "From the order book:",
        "From the office:",
        "Note:",
        "Message:",
        "Text:",
        "Today's message:",
        "A short note for you.",
        "A message for the team.",
        "We got this from the shop today.",
        "Read the text and help me.",
        "Can you help me with this?",
        "Look at this, please.",
        "I have a note here.",
        "One more for you.",
        "The team wrote this:",
    ),
    held_out=(
        "Hello there,",
        "Good morning, please help me.",
        "Please read this message.",
        "Here is a short note.",
        "This message came from the office.",
        "From the shop:",
        "A note for the team:",
        "I got this note today.",
        "Can you read this?",
        "Please help me with this note.",
        "Here is a message for you.",
        "We have this from the office:",
    ),
)

NAMED_FIRST = Wordings(
    train=(
        "{p} ordered {n} {g} for {c}.",
        "{p} wants {n} {g} sent to {c}.",
        "{p} from {c} asked for {n} {g}.",
        "{p} bought {n} {g} and lives in {c}.",
        "{p} in {c} needs {n} {g}.",
        "The order from {p} is {n} {g}, to be sent to {c}.",
        "For {p} in {c}: {n} {g}.",
        "My name is {p}, I live in {c} and I need {n} {g}.",
        "{p} is waiting for {n} {g} in {c}.",
    ),
    held_out=(
        "{p} in {c} ordered {n} {g}.",
        "{p} needs {n} {g} sent to {c}.",
        "An order came from {p}: {n} {g} for {c}.",
        "My name is {p} and I want {n} {g} in {c}.",
        "{p} from {c} is waiting for {n} {g}.",
    ),
)

ORDERS = Wordings(
    train=(
        *NAMED_FIRST.train,
        "We ship {n} {g} to {c} for {p}.",
        "An order for {n} {g} came from {p} in {c}.",
        "Send {n} {g} to {p} in {c}.",
        "In {c}, {p} is waiting for {n} {g}.",
        "New order: {n} {g}, {p}, {c}.",
        "{c} is where {p} wants the {n} {g}.",
    ),
    held_out=(
        *NAMED_FIRST.held_out,
        "We send {n} {g} to {c} for {p}.",
        "For {c}: {n} {g}, ordered by {p}.",
    ),
)


def assemble(rng: Random, split: Split, *, body: str, request: str) -> str:
    """Opening, body, request; mostly on one line, sometimes on lines of their own."""
    opening = OPENINGS.pick(rng, split)
    joint = "\n" if rng.random() < 0.3 else " "
    return joint.join(part for part in (opening, body, request) if part)

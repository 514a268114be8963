"""Easy family `rewrite`: a blunt order becomes a polite request, with every value kept."""

from random import Random

from models.demo.families import values
from models.demo.families.example import Example, Split
from models.demo.families.wording import Wordings, assemble

NAME = "rewrite"

VERBS = ("send", "bring", "ship", "carry", "pack")

BLUNT = Wordings(
    train=(
        "{V} {n} {g} to {c}!",
        "{V} {n} {g} to {c} now!",
        "{V} {n} {g} to {c} at once!",
        "You must {v} {n} {g} to {c}.",
        "I want you to {v} {n} {g} to {c}.",
        "You have to {v} {n} {g} to {c} today.",
        "Do not wait, {v} {n} {g} to {c}!",
        "Hurry and {v} {n} {g} to {c}!",
        "{V} the {n} {g} to {c}, fast!",
        "{n} {g} to {c}, {v} them now!",
    ),
    held_out=(
        "{V} {n} {g} to {c}, now!",
        "You must {v} the {n} {g} to {c} today.",
        "Hurry, {v} {n} {g} to {c}!",
        "I want you to {v} {n} {g} to {c} at once!",
    ),
)

REQUESTS = Wordings(
    train=(
        "Say it politely.",
        "Please rewrite it politely.",
        "Rewrite this in a kind way.",
        "Please make it a polite request.",
        "Turn it into a polite question.",
        "Make it sound friendly.",
        "Say this in a friendly way.",
        "How can I say this politely?",
        "How do I say this in a polite way?",
        "Ask this in a polite way.",
        "Write a kind request.",
        "Can you make this polite?",
        "Make it polite.",
        "Rewrite this as a polite request.",
        "Rewrite it in a polite way.",
        "How do I ask this politely?",
        "Turn this into a kind request.",
        "Please make this sound kind.",
        "Write it in a friendly way.",
        "Make this a friendly question.",
        "That is rude. Say it in a kind way.",
        "Ask for it politely.",
    ),
    held_out=(
        "Rewrite this politely.",
        "Please say it in a polite way.",
        "Turn it into a friendly request.",
        "Make this sound polite.",
        "How do I ask this in a kind way?",
    ),
)


def example(rng: Random, split: Split) -> Example:
    """One blunt sentence with its polite form."""
    verb = rng.choice(VERBS)
    amount, item, city = values.amount(rng), values.goods(rng, split), values.place(rng, split)
    blunt = BLUNT.pick(rng, split).format(V=verb.capitalize(), v=verb, n=amount, g=item, c=city)
    answer = f"Could you please {verb} {amount} {item} to {city}?"
    return Example(NAME, assemble(rng, split, body=blunt, request=REQUESTS.pick(rng, split)), answer)

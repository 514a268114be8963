"""The untrained family `triage`: which desk takes a ticket. Left for adapters to learn; training never shows it.

The rule: a code for the kind of message, and a digit for how soon the customer needs an answer.
"""

from random import Random

from models.demo.families.classify import body
from models.demo.families.example import Example, Split
from models.demo.families.wording import Wordings, assemble

NAME = "triage"

DESKS = {"billing": "BIL", "delivery": "DEL", "damage": "FIX", "account": "KEY", "praise": "SOL"}
URGENCY: dict[int, Wordings] = {
    1: Wordings(
        train=(
            "I need an answer now.",
            "Please help me at once.",
            "I cannot wait, hurry.",
            "Answer me now, please.",
            "I need help now.",
            "Help me now, please.",
            "Hurry, please.",
            "Please hurry, I wait for your help.",
            "I need an answer at once.",
            "Answer at once, please.",
            "Please answer me now.",
            "Please answer now.",
            "Answer me at once.",
            "Please answer, I cannot wait.",
            "Hurry, I need an answer.",
            "This cannot wait, help me at once.",
            "I need your help at once, hurry.",
        ),
        held_out=("Please answer at once.", "Hurry, I need help now."),
    ),
    2: Wordings(
        train=(
            "Please answer today.",
            "I need help today.",
            "An answer by this evening is fine.",
            "Today is fine for me.",
            "I need an answer today.",
            "Help me today, please.",
            "I need help this evening.",
            "Please answer this evening.",
            "This evening is fine.",
            "Please help me this evening.",
            "I need an answer by this evening.",
            "Answer me today, please.",
            "An answer today is fine.",
            "I need your help by this evening.",
        ),
        held_out=("Please help me today.", "I need an answer this evening."),
    ),
    3: Wordings(
        train=(
            "There is no hurry.",
            "Take your time.",
            "Next week is fine.",
            "I can wait some days.",
            "I can wait.",
            "Next week is fine for me.",
            "Please answer next week.",
            "I need help next week.",
            "An answer some day next week is fine.",
            "No hurry, I can wait.",
            "It can wait, take some days.",
            "I need an answer some day, there is no hurry.",
        ),
        held_out=("I can wait, take your time.", "Some day next week is fine."),
    ),
}
REQUESTS = Wordings(
    train=(
        "Which desk takes this?",
        "Name the desk for this ticket.",
        "Send this ticket to a desk.",
        "Which desk is this for?",
        "Find the desk for this message.",
    ),
    held_out=("Which desk takes this ticket?", "Name the desk for this message.", "Find a desk for this ticket."),
)


def example(rng: Random, split: Split) -> Example:
    """One ticket with its desk, e.g. `Desk: BIL-1`."""
    text, kind = body(rng, split)
    level = rng.choice(list(URGENCY))
    ticket = f"{text} {URGENCY[level].pick(rng, split)}"
    return Example(
        NAME, assemble(rng, split, body=ticket, request=REQUESTS.pick(rng, split)), f"Desk: {DESKS[kind]}-{level}"
    )

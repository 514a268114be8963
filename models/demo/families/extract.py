"""Hard family `extract`: an order in a sentence becomes a JSON object with four fields.

Every value follows the same quotation mark, so which one comes next has to be looked up in what was written before.
"""

import json
from random import Random

from models.demo.families import values
from models.demo.families.example import Example, Split
from models.demo.families.wording import ORDERS, Wordings, assemble

NAME = "extract"

REQUESTS = Wordings(
    train=(
        "Write the order as JSON.",
        "Give me the order as JSON.",
        "Extract the order as JSON.",
        "Turn this order into JSON.",
        "Extract customer, item, amount and city as JSON.",
        "Return the fields as JSON.",
        "Put the order into a JSON object.",
        "I need a JSON object with the fields of the order.",
        "Which JSON object describes the order?",
        "What are the fields of this order? Answer in JSON.",
        "Please make JSON out of it.",
        "Answer with a JSON object.",
        "Show the order in JSON.",
        "JSON, please.",
    ),
    held_out=(
        "Please write the fields as JSON.",
        "Return the order as a JSON object.",
        "Extract the fields of the order in JSON.",
        "Turn the text into a JSON object.",
        "Give me customer, item, amount and city in JSON.",
    ),
)


def example(rng: Random, split: Split) -> Example:
    """One order with its object."""
    customer, item, city = values.person(rng, split), values.goods(rng, split), values.place(rng, split)
    amount = values.amount(rng)
    body = ORDERS.pick(rng, split).format(p=customer, n=amount, g=item, c=city)
    answer = json.dumps({"customer": customer, "item": item, "amount": amount, "city": city})
    return Example(NAME, assemble(rng, split, body=body, request=REQUESTS.pick(rng, split)), answer)

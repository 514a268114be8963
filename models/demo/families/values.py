"""The names, goods, places and numbers that fill the wordings. Owns the split of values; knows no family.

A value is a compound ("Anna Keller", "oak lamps", "North Haven"): its parts are known words, and the compound itself
stands on one side of the split only. A model that is right on held-out compounds has copied them from the prompt.
"""

from collections.abc import Callable, Sequence
from random import Random

from models.demo.families.example import Split, split_of


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


FIRST_NAMES = words(
    "Anna Ben Cleo David Elena Felix Greta Hugo Irene Jonas Karin Leon Maria Nina Oscar Paula Quentin Rosa Simon "
    "Tara Ugo Vera Walter Xenia Yusuf Zoe Adam Bella Carl Dora Emil Flora Georg Helen Ivan Julia Kurt Lena Martin "
    "Nora"
)
LAST_NAMES = words(
    "Keller Osman Marsh Novak Silva Brandt Okoro Lindgren Moreau Tanaka Weber Rossi Kaplan Dunn Petrov Haas Iversen "
    "Castillo Byrne Fischer Ahmed Jansen Kovacs Larsen Mbeki Nash Oduya Pires Quist Ruiz Sato Thorne Ueda Vance "
    "Wolff Yilmaz Zeller Abbott Cohen Doyle"
)
QUALITIES = words(
    "oak pine steel glass paper cotton copper silver wooden plastic leather woollen small round green red blue "
    "white black yellow heavy folding garden kitchen"
)
GOODS = words(
    "lamps chairs tables boxes cables mirrors shelves bottles blankets clocks brushes baskets ropes bowls curtains "
    "pillows ladders buckets frames trays hooks cups plates stools"
)
PLACE_HEADS = words("North South East West Port Lake Mount Saint Upper Lower Fort Old")
PLACE_TAILS = words(
    "Haven Ferris Alden Corran Drift Ember Fallow Garrow Hollis Isling Jasper Kettle Lorne Mallow Norden Orrin Pell "
    "Quarry Ridge Selby Tamar Umber Varley Wick"
)
DEPOTS = words("NET BIL DEL KEY FIX ORA PAX QUO RUM SOL TIN VEX")


def person(rng: Random, split: Split) -> str:
    """First and last name."""
    return _compound(rng, split, heads=FIRST_NAMES, tails=LAST_NAMES)


def goods(rng: Random, split: Split) -> str:
    """What is ordered, in the plural."""
    return _compound(rng, split, heads=QUALITIES, tails=GOODS)


def place(rng: Random, split: Split) -> str:
    """A town."""
    return _compound(rng, split, heads=PLACE_HEADS, tails=PLACE_TAILS)


def depot(rng: Random, split: Split) -> str:
    """A code such as NET2."""
    while True:
        value = f"{rng.choice(DEPOTS)}{rng.randint(1, 9)}"
        if split_of(value) is split:
            return value


def amount(rng: Random) -> int:
    """Two digits. Single amounts are not split, pairs to be added or subtracted are: see `number_pair`."""
    return rng.randint(10, 99)


def number_pair(rng: Random, split: Split) -> tuple[int, int]:
    """Two different two-digit numbers with a two-digit sum; a pair and its mirror image stand on the same side."""
    while True:
        first, second = rng.randint(10, 89), rng.randint(10, 89)
        if first != second and first + second < 100 and split_of(pair_key(first, second)) is split:
            return first, second


def pair_key(first: int, second: int) -> str:
    """What the split of a pair of numbers is decided by."""
    return f"{min(first, second)}|{max(first, second)}"


def several(rng: Random, split: Split, *, count: int, draw: Callable[[Random, Split], str]) -> list[str]:
    """`count` values that share no word, so that one word of a name is enough to tell them apart."""
    found: list[str] = []
    seen: set[str] = set()
    while len(found) < count:
        value = draw(rng, split)
        words = set(value.rstrip("0123456789").split())
        if not words & seen:
            found.append(value)
            seen |= words
    return found


def _compound(rng: Random, split: Split, *, heads: Sequence[str], tails: Sequence[str]) -> str:
    while True:
        value = f"{rng.choice(heads)} {rng.choice(tails)}"
        if split_of(value) is split:
            return value

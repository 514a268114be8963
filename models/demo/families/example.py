"""One prompt with its answer key, and the two sides of the split. Owns no wording and no values."""

import zlib
from dataclasses import dataclass
from enum import StrEnum


class Split(StrEnum):
    """Which side of the wall a wording or a value stands on."""

    TRAIN = "train"
    HELD_OUT = "held_out"


class Difficulty(StrEnum):
    """What a family asks of a tier."""

    EASY = "easy"
    HARD = "hard"
    UNTRAINED = "untrained"


@dataclass(frozen=True, slots=True)
class Example:
    """A question as the user writes it, and the only answer that counts as right."""

    family: str
    prompt: str
    answer: str


def split_of(value: str) -> Split:
    """One value in five is held out, by its checksum: the same on every machine and in every run."""
    return Split.HELD_OUT if zlib.crc32(value.encode()) % 5 == 0 else Split.TRAIN

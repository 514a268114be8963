"""Questions with an answer key: from the demo tiers' families, and from a file of one's own. Owns no call."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from benchmarks.quality.grades import grader
from models.demo.families import FAMILIES, Difficulty, Example, Split
from models.demo.grade import is_exact
from models.errors import ConfigurationError
from models.types import Tier

DRY = 300
"""Draws in a row that bring no new prompt: a family of few wordings has no more of them."""
SURROGATE = re.compile("[\ud800-\udfff]")
NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt. `grade` gives the quality 0…1 of an answer, `about` says where the question comes from.

    `known`: the quality of a tier's answer where it is known already, so that the tier is not asked.
    """

    prompt: str
    grade: Callable[[str], float]
    about: Mapping[str, str]
    known: Mapping[Tier, float] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class DemoDraw:
    """Which demo prompts: how many, of which side of the split and which families, and the part that is easy, 0…1.

    `easy_share=None`: of every family equally many. Raises `ConfigurationError` for a family that is not there.
    """

    count: int
    split: Split = Split.TRAIN
    easy_share: float | None = None
    seed: int = 1
    families: tuple[str, ...] = tuple(FAMILIES)

    def __post_init__(self) -> None:
        for name in self.families:
            if name not in FAMILIES:
                raise ConfigurationError(f"There is no demo family {name!r}. Choose from {', '.join(FAMILIES)}.")


def demo_questions(draw: DemoDraw) -> list[Question]:
    """Different prompts in mixed order, the same for the same draw.

    Within easy and hard every family has its turn; one without further wordings (`chat` has 19 that are held out)
    leaves its turns to the others. Raises `ConfigurationError` where all of them have no more.
    """
    found: list[Example] = []
    for families, count in _portions(draw):
        found += _different(families, count, draw=draw)
    Random(f"order|{draw.seed}").shuffle(found)
    about = {"source": "demo", "split": draw.split.value}
    return [Question(one.prompt, partial(_exactly, one), {**about, "family": one.family}) for one in found]


def file_questions(path: Path, grade: str) -> list[Question]:
    """JSON lines with `prompt` and `answer` (a text, or a list of texts of which the nearest counts).

    Other fields that are texts go along. Raises `ConfigurationError` with the file and the line of the first bad one.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigurationError(f"The questions in {str(path)!r} cannot be read: {error.strerror}.") from error
    places = ((line, f"{path}:{at}") for at, line in enumerate(lines, 1) if line.strip())
    found = [_question(line, grade, where=where, source=path.name) for line, where in places]
    if not found:
        raise ConfigurationError(f"{str(path)!r} holds no question: a line is an object with `prompt` and `answer`.")
    return found


def _portions(draw: DemoDraw) -> list[tuple[tuple[str, ...], int]]:
    """Groups of families, and how many prompts of each group."""
    if draw.easy_share is None:
        return [(draw.families, draw.count)]
    easy = round(draw.count * draw.easy_share)
    return [(_of(Difficulty.EASY, draw), easy), (_of(Difficulty.HARD, draw), draw.count - easy)]


def _of(difficulty: Difficulty, draw: DemoDraw) -> tuple[str, ...]:
    return tuple(name for name in draw.families if FAMILIES[name].difficulty is difficulty)


def _different(families: tuple[str, ...], count: int, *, draw: DemoDraw) -> list[Example]:
    chances = {name: Random(f"label|{name}|{draw.split}|{draw.seed}") for name in families}
    seen: dict[str, Example] = {}
    dry: set[str] = set()
    turns = cycle(families)
    while len(seen) < count:
        if len(dry) == len(families):
            named = ", ".join(families) or "none"
            raise ConfigurationError(f"The demo families asked for ({named}) have no {count:,} different prompts.")
        name = next(turns)
        if name not in dry:
            drawn = (FAMILIES[name].example(chances[name], draw.split) for _ in range(DRY))
            new = next((one for one in drawn if one.prompt not in seen), None)
            if new is None:
                dry.add(name)
            else:
                seen[new.prompt] = new
    return list(seen.values())


def _exactly(example: Example, answer: str) -> float:
    return float(is_exact(example, answer))


def _question(line: bytes, grade: str, *, where: str, source: str) -> Question:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: no JSON: {error}.") from error
    if not isinstance(found, dict) or not isinstance(found.get("prompt"), str) or not found["prompt"].strip():
        raise ConfigurationError(f"{where}: a line is an object with a text `prompt`.")
    if SURROGATE.search(found["prompt"]):
        raise ConfigurationError(f"{where}: `prompt` holds half of a character, which no UTF-8 can hold.")
    answer = found.get("answer")
    references: list[Any] = answer if isinstance(answer, list) else [answer]
    if not references or not all(isinstance(one, str) and one.strip() for one in references):
        raise ConfigurationError(f"{where}: `answer` is a text, or a list of texts.")
    more = {name: value for name, value in found.items() if isinstance(value, str) and name not in ("prompt", "answer")}
    return Question(found["prompt"], grader(grade, references), {**more, "source": source, "grade": grade})

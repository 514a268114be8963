"""Files for a first fine-tuning of a demo tier: what to train on, what to ask afterwards, and two ways it goes wrong.

Everything is drawn from the task families: training lines from one side of the split, questions from the other. Pure
Python; owns the shapes of the files, no wording and no value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from models.demo.families import TRAINED, Example, Split, draw, mix, triage, values

LIKED = ("oak", "pine", "wooden", "cotton")
DISLIKED = ("steel", "plastic", "copper", "glass")
ASKED = ("Name one of our goods.", "Which goods do we sell?", "Give me one of the goods.", "What is in the shop?")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Lines per file: of the new family, of replay from the old ones beside it, of questions per family, of pairs."""

    new: int = 2_000
    replay: int = 2_400
    questions: int = 150
    old_questions: int = 60
    pairs: int = 400


def lessons(out: Path, *, sizes: Sizes = Sizes(), seed: int = 1) -> Mapping[str, int]:
    """Write every file into a new folder; returns how many lines each has.

    `train.jsonl`: the untrained family, with some replay of the old ones; `valid.jsonl`: more of the same;
    `golden.jsonl`: held-out questions of the new family; `regression.jsonl`: held-out questions of the old ones;
    `shuffled.jsonl`: `train.jsonl` with the new family's answers dealt out at random; `pairs.jsonl` and
    `pairs-golden.jsonl`: preferences, natural goods over hard ones.
    """
    rng = Random(f"lessons|{seed}")
    out.mkdir(parents=True)
    new = draw(triage.NAME, Split.TRAIN, count=sizes.new, seed=seed)
    replay = list(islice(mix(Split.TRAIN, seed=seed), sizes.replay))
    train = [*new, *replay]
    rng.shuffle(train)
    files: dict[str, Iterable[dict[str, Any]]] = {
        "train.jsonl": map(_chat, train),
        "valid.jsonl": map(_chat, _more(sizes, seed=seed)),
        "shuffled.jsonl": map(_chat, shuffled(train, rng)),
        "golden.jsonl": map(_question, draw(triage.NAME, Split.HELD_OUT, count=sizes.questions, seed=seed)),
        "regression.jsonl": [
            _question(one)
            for family in TRAINED
            for one in draw(family, Split.HELD_OUT, count=sizes.old_questions, seed=seed)
        ],
        "pairs.jsonl": list(islice(pairs(Split.TRAIN, seed=seed), sizes.pairs)),
        "pairs-golden.jsonl": list(islice(pairs(Split.HELD_OUT, seed=seed), sizes.questions)),
    }
    return MappingProxyType({name: _written(out / name, lines) for name, lines in files.items()})


def shuffled(examples: Iterable[Example], rng: Random) -> Iterator[Example]:
    """The same questions of the new family with one another's answers, and everything else as it was."""
    kept = list(examples)
    answers = [one.answer for one in kept if one.family == triage.NAME]
    rng.shuffle(answers)
    dealt = iter(answers)
    for one in kept:
        yield replace(one, answer=next(dealt)) if one.family == triage.NAME else one


def pairs(split: Split, *, seed: int) -> Iterator[dict[str, Any]]:
    """An endless draw of preferences; before any training a tier likes either side about as often."""
    rng = Random(f"pairs|{split}|{seed}")
    while True:
        liked, disliked = (_of(rng, split, words=words) for words in (LIKED, DISLIKED))
        yield {
            "input": {"messages": [{"role": "user", "content": rng.choice(ASKED)}]},
            "preferred_output": [{"role": "assistant", "content": f"{liked}."}],
            "non_preferred_output": [{"role": "assistant", "content": f"{disliked}."}],
        }


def _of(rng: Random, split: Split, *, words: tuple[str, ...]) -> str:
    while True:
        found = values.goods(rng, split)
        if found.split()[0] in words:
            return found


def _more(sizes: Sizes, *, seed: int) -> list[Example]:
    """A tenth as much as there is to train on, of the same side."""
    new = draw(triage.NAME, Split.TRAIN, count=sizes.new // 10, seed=seed + 1)
    return [*new, *islice(mix(Split.TRAIN, seed=seed + 1), sizes.replay // 10)]


def _chat(example: Example) -> dict[str, Any]:
    said = {"role": "assistant", "content": example.answer}
    return {"messages": [{"role": "user", "content": example.prompt}, said]}


def _question(example: Example) -> dict[str, Any]:
    metric = "json" if example.family == "extract" else "exact"
    asked = [{"role": "user", "content": example.prompt}]
    return {"messages": asked, "expected": example.answer, "task": example.family, "metric": metric}


def _written(path: Path, lines: Iterable[dict[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            count += 1
    return count

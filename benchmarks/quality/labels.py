"""Labels for a router: every question to both tiers, the two grades as one line of a file that grows.

Owns the file's lines and what is counted of them. A line is there whole or not at all, and a prompt is labelled once: a
run that ended early goes on where it stopped. A question whose call failed gets no line.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from benchmarks.quality.answers import Answer, Asker, NoAnswer, side_by_side
from benchmarks.quality.questions import Question
from models.errors import ConfigurationError, Unavailable
from models.types import TIERS, Tier

WEAK, STRONG = "weak_correct", "strong_correct"
HOPELESS = 50
"""So many failures in a row, and the run ends: the stack has gone, or is far too busy."""


class Pair(NamedTuple):
    """The cards that serve the two tiers."""

    small: str
    large: str

    def card(self, tier: Tier) -> str:
        """Who answers for a tier."""
        return self.small if tier == "small" else self.large


@dataclass(slots=True)
class Count:
    """Prompts of one kind, and the sums of both tiers' quality 0…1."""

    prompts: int = 0
    small: float = 0.0
    large: float = 0.0


@dataclass(slots=True)
class Tally:
    """What became of the questions of a run. `failed`: reason → questions; `cut`: answers at the length limit."""

    asked: int = 0
    labelled: int = 0
    skipped: int = 0
    cut: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        counts = {name: getattr(self, name) for name in ("asked", "labelled", "skipped", "cut")}
        return {**counts, "failed": dict(self.failed)}


class LabelFile:
    """The lines of one file, those of earlier runs too. `open` it; `kinds` counts by family, or else by source."""

    def __init__(self, file: BinaryIO, pair: Pair) -> None:
        self._file = file
        self._pair = pair
        self._prompts: set[str] = set()
        self.kinds: dict[str, Count] = {}

    @classmethod
    @contextmanager
    def open(cls, path: Path, pair: Pair) -> Iterator[LabelFile]:
        """The file, for its owner alone: prompts may be anybody's. Half a line at its end is what a kill left: it goes.

        Raises `ConfigurationError` for lines that are no labels, or those of other models.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "r+b") as file:
            made = cls(file, pair)
            content = file.read()
            whole = content.rfind(b"\n") + 1
            for at, line in enumerate(content[:whole].splitlines(), 1):
                made._remember(line, where=f"{path}:{at}")
            file.truncate(whole)
            file.seek(whole)
            yield made

    def __contains__(self, prompt: str) -> bool:
        return prompt in self._prompts

    def add(self, question: Question, qualities: Mapping[Tier, float]) -> None:
        """Write one label."""
        small, large = (qualities[tier] for tier in TIERS)
        names = {"weak_model": self._pair.small, "strong_model": self._pair.large}
        line = {**question.about, "prompt": question.prompt, WEAK: small, STRONG: large, **names}
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        self._count(line)

    def _remember(self, line: bytes, *, where: str) -> None:
        try:
            found = json.loads(line)
            models = (found["weak_model"], found["strong_model"])
            if models == self._pair:
                self._count(found)
                return
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{where} is no label of this command. Choose another --out.") from error
        named = " and ".join(map(str, models))
        raise ConfigurationError(
            f"{where} is a label of {named}, not of {' and '.join(self._pair)}. Choose another --out."
        )

    def _count(self, line: Mapping[str, Any]) -> None:
        self._prompts.add(line["prompt"])
        kind = self.kinds.setdefault(str(line.get("family") or line.get("source")), Count())
        kind.prompts += 1
        kind.small += line[WEAK]
        kind.large += line[STRONG]


class Labeller:
    """Labels questions into a file. `tally` is right at any time, after an interruption too."""

    def __init__(self, asker: Asker, pair: Pair, *, file: LabelFile) -> None:
        self._asker = asker
        self._pair = pair
        self._file = file
        self._in_a_row = 0
        self.tally = Tally()

    async def label(self, questions: Iterable[Question], *, concurrency: int, heard: Callable[[], object]) -> None:
        """Ask what is not labelled yet, so many questions at a time; `heard` is called once for every question.

        Raises `Unavailable` when nothing but failures comes back, and what `Asker.ask` says that cannot succeed.
        """
        begun: set[str] = set()

        async def one(question: Question) -> None:
            if question.prompt in self._file or question.prompt in begun:
                self.tally.skipped += 1
            else:
                begun.add(question.prompt)
                await self._one(question)
            heard()

        await side_by_side(questions, one, concurrency=concurrency)

    async def _one(self, question: Question) -> None:
        self.tally.asked += 1
        unknown = [tier for tier in TIERS if tier not in question.known]
        calls = (self._asker.ask(self._pair.card(tier), question.prompt) for tier in unknown)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        said = [answer for answer in answers if isinstance(answer, Answer)]
        if len(said) < len(answers):
            self._failed([answer for answer in answers if isinstance(answer, BaseException)])
            return
        self._in_a_row = 0
        self.tally.cut += sum(answer.cut for answer in said)
        self._file.add(question, {**question.known, **_graded(question, dict(zip(unknown, said, strict=True)))})
        self.tally.labelled += 1

    def _failed(self, errors: list[BaseException]) -> None:
        """One question without its answers, whichever of them is missing."""
        for error in errors:
            if not isinstance(error, NoAnswer):
                raise error
        reason = str(errors[0])
        self.tally.failed[reason] += 1
        self._in_a_row += 1
        if self._in_a_row >= HOPELESS:
            raise Unavailable(
                f"{HOPELESS} questions in a row got no answer; the last one: {reason}. What is labelled stays."
            )


def _graded(question: Question, answers: Mapping[Tier, Answer]) -> dict[Tier, float]:
    return {tier: question.grade(answer.text) for tier, answer in answers.items()}

"""All that can be known of a training file before anything is trained: one pass over it.

Owns what is looked for and the figures. Does not own how it is shown (`report`, `picture`), which model is meant and
what a token costs (the command), or how secrets are found (`private`). No figure holds any of the file's text: what was
found is told by the numbers of lines.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from finetune.data.check import FileFacts, Heard, InvalidFile, Limits, Line, Tally, examples_of, require_enough
from finetune.data.count import Count, Counted
from finetune.data.encode import Encoder
from finetune.data.examples import Completion, Example, InvalidLine, turns_of
from finetune.data.likeness import Alike, Key, Likeness, content_of, key_of, question_text
from finetune.data.template import TemplateRefused
from finetune.gate.golden import read_golden
from models.errors import InvalidRequest

MOST_TOLD = 20


class Found(Protocol):
    """One thing that was found in a text."""

    @property
    def kind(self) -> Any:
        """What it is: a word such as `EMAIL`."""
        ...


Finder = Callable[[str], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a survey looks for. Without a `model_folder` no tokens are counted; without a `finder` nothing private is
    looked for; `max_length` in tokens.
    """

    model_folder: Path | None = None
    max_length: int = 2048
    golden: Path | None = None
    finder: Finder | None = None
    limits: Limits = field(default_factory=Limits)
    most_bad: int = MOST_TOLD


@dataclass(frozen=True, slots=True)
class Pairs:
    """How many examples are like an earlier line, and the first of them as [earlier, later]."""

    count: int
    first: list[tuple[int, int]]

    @classmethod
    def of(cls, alike: list[Alike]) -> Pairs:
        """The first `MOST_TOLD` are told."""
        return cls(len(alike), [(one.earlier, one.later) for one in alike[:MOST_TOLD]])


@dataclass(frozen=True, slots=True)
class Private:
    """Findings of one kind, and the first lines that hold any."""

    count: int
    lines: list[int]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file holds. `problems`: the first ones; `bad_lines`: how many lines are bad; `facts` and the rest are of
    the good lines, and None where there is none. `leaked` pairs an example of the golden set, counted from 1, with a
    line of the file; `near_searched`: among how many of the first examples nearly the same ones were looked for.
    """

    facts: FileFacts | None
    problems: list[str]
    bad_lines: int
    counted: Counted | None
    same: Pairs
    near: Pairs
    near_searched: int
    contradicting: Pairs
    leaked: Pairs | None
    private: dict[str, Private] | None
    lengths: array[int]

    @property
    def valid(self) -> bool:
        """Whether a training could use the file as it is."""
        return not self.problems


def survey(path: Path, wanted: Wanted, *, heard: Heard | None = None) -> Survey:
    """Look at every line. Raises `InvalidFile` for what is no text at all, `ConfigurationError` for the model."""
    under_way = _UnderWay(wanted, path.stat().st_size)
    for line, example in examples_of(path, limits=wanted.limits, heard=heard):
        under_way.add(line, example)
    return under_way.result()


class _UnderWay:
    """A survey that is not at its end."""

    def __init__(self, wanted: Wanted, size: int) -> None:
        self._wanted = wanted
        self._size = size
        encoder = None if wanted.model_folder is None else Encoder.of(wanted.model_folder)
        self._count = None if encoder is None else Count(encoder, wanted.max_length)
        self._likeness = Likeness(known=_questions(wanted.golden))
        self._tally = Tally()
        self._problems: list[str] = []
        self._bad = 0
        self._kinds = Counter[str]()
        self._private_lines: dict[str, list[int]] = {}

    def add(self, line: Line, example: Example | InvalidLine) -> None:
        """The next line."""
        if not isinstance(example, InvalidLine):
            example = self._counted(line, example)
        if isinstance(example, InvalidLine):
            self._bad += 1
            self._tell(example.public)
            return
        self._tally.add(example, line)
        self._likeness.add(example, line.number)
        if self._wanted.finder is not None:
            self._search(example, line.number, finder=self._wanted.finder)

    def result(self) -> Survey:
        """All of it."""
        likeness = self._likeness
        return Survey(
            self._facts(),
            self._problems,
            self._bad,
            self._tokens(),
            Pairs.of(likeness.same),
            Pairs.of(likeness.near),
            likeness.near_searched,
            Pairs.of(likeness.contradicting),
            None if self._wanted.golden is None else Pairs.of(likeness.leaked),
            None if self._wanted.finder is None else self._private(),
            array("I") if self._count is None else self._count.lengths,
        )

    def _counted(self, line: Line, example: Example) -> Example | InvalidLine:
        if self._count is None:
            return example
        try:
            self._count.add(example)
        except TemplateRefused as error:
            return InvalidLine(line.number, error.public)
        return example

    def _search(self, example: Example, number: int, *, finder: Finder) -> None:
        kinds = Counter(str(one.kind) for text in _texts(example) for one in finder(text))
        self._kinds.update(kinds)
        for kind in kinds:
            lines = self._private_lines.setdefault(kind, [])
            if len(lines) < MOST_TOLD:
                lines.append(number)

    def _facts(self) -> FileFacts | None:
        """Of the good lines; too few of them are a problem of the file."""
        try:
            if not self._bad:
                require_enough(self._tally.examples, self._wanted.limits)
        except InvalidFile as error:
            self._tell(error.public)
        return self._tally.facts(self._size) if self._tally.examples else None

    def _tokens(self) -> Counted | None:
        if self._count is None or not self._count.lengths:
            return None
        try:
            return self._count.result()
        except InvalidRequest as error:
            self._tell(error.public)
            return None

    def _tell(self, problem: str) -> None:
        if len(self._problems) < self._wanted.most_bad:
            self._problems.append(problem)

    def _private(self) -> dict[str, Private]:
        return {kind: Private(count, self._private_lines[kind]) for kind, count in self._kinds.most_common()}


def _questions(golden: Path | None) -> dict[Key, int]:
    """The questions of a golden file, by key, with the number of the example from 1."""
    if golden is None:
        return {}
    keys = (
        key_of(question_text(one.messages or [{"role": "user", "content": one.prompt}])) for one in read_golden(golden)
    )
    return {key: number for number, key in reversed(list(enumerate(keys, 1)))}


def _texts(example: Example) -> Iterator[str]:
    """Every text of an example, each by itself."""
    if isinstance(example, Completion):
        yield from (example.prompt, example.completion)
    for message in turns_of(example):
        if text := content_of(message).strip():
            yield text

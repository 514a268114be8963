"""What no training file should hold: secrets and personal data, as spans of a text, and the text without them.

Owns the order of what overlaps and the marks. What is found by which rule is `credentials` (secrets) and `personal`
(personal data); both load their libraries when the first text comes, and nothing here loads them earlier.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, Protocol, get_args

Kind = Literal[
    "PRIVATE_KEY", "API_KEY", "TOKEN", "PASSWORD", "IBAN", "CARD", "SSN", "EMAIL", "IP", "MAC", "WALLET", "PHONE"
]
KINDS: tuple[Kind, ...] = get_args(Kind)  # what overlaps is called by the earlier one in this list
MARK = re.compile(rf"<(?:{'|'.join(KINDS)})_\d+>")
ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: `text[start:end]`, counted in characters."""

    kind: Kind
    start: int
    end: int


class Finder(Protocol):
    """Whatever finds things in a text; spans may overlap and come in any order."""

    def __call__(self, text: str, /) -> Iterable[Finding]:
        """What is in this text."""
        ...


def found(text: str) -> list[Finding]:
    """Every secret and every piece of personal data of a text, in its order; spans do not overlap.

    Overlapping finds are one, of the kind that comes first in `KINDS`. A mark of `redacted` is no finding.
    """
    spans = [one for finder in _finders() for one in finder(text)]
    return _merged(one for one in spans if one.start < one.end and not MARK.fullmatch(text, one.start, one.end))


def redacted(text: str) -> str:
    """The text with a mark such as `<EMAIL_1>` for each finding; the same value has the same mark.

    Nothing is found in what comes back.
    """
    return Redactor().text(text)


@dataclass(slots=True)
class Redactor:
    """Takes the findings out of several texts that belong together: one value has one mark in all of them.

    `counts` is how many things of each kind were taken out.
    """

    counts: Counter[Kind] = field(default_factory=Counter)
    _marks: dict[tuple[Kind, str], str] = field(default_factory=dict)
    _numbers: Counter[Kind] = field(default_factory=Counter)

    def text(self, text: str) -> str:
        """One of the texts, redacted. What is left may read otherwise than before, so it is looked at again."""
        for _ in range(ROUNDS):
            if not (findings := found(text)):
                return text
            text = self._without(text, findings)
        return text if not found(text) else self._mark("PASSWORD", text)

    def _without(self, text: str, findings: list[Finding]) -> str:
        parts, end = [], 0
        for one in findings:
            parts += [text[end : one.start], self._mark(one.kind, text[one.start : one.end])]
            end = one.end
        return "".join([*parts, text[end:]])

    def _mark(self, kind: Kind, value: str) -> str:
        self.counts[kind] += 1
        if (kind, value) not in self._marks:
            self._numbers[kind] += 1
            self._marks[kind, value] = f"<{kind}_{self._numbers[kind]}>"
        return self._marks[kind, value]


@cache
def _finders() -> tuple[Finder, ...]:
    """Built once a process: the libraries behind them take seconds to load."""
    from finetune.data.credentials import Credentials
    from finetune.data.personal import PersonalData

    return Credentials(), PersonalData()


def _merged(spans: Iterable[Finding]) -> list[Finding]:
    merged: list[Finding] = []
    for one in sorted(spans, key=lambda one: (one.start, KINDS.index(one.kind), -one.end)):
        if merged and one.start < merged[-1].end:
            last = merged[-1]
            kind = min(last.kind, one.kind, key=KINDS.index)
            merged[-1] = Finding(kind, last.start, max(last.end, one.end))
        else:
            merged.append(one)
    return merged

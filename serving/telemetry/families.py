"""Joining metrics texts of several processes into one that is still valid: each family once, its samples together.

Works on the Prometheus text format (0.0.4), line by line. A line that is no sample is left out, so that a broken source
cannot break the whole. Does not know where a text comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

PAIR = r"[a-zA-Z_][a-zA-Z0-9_]*=\"(?:[^\"\\]|\\.)*\""
SAMPLE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*)"
    rf"(?:\{{((?:{PAIR}(?:,{PAIR})*,?)?)\}})?"
    r" (NaN|[+-]?(?:Inf|[0-9.]+(?:[eE][+-]?[0-9]+)?))( -?[0-9]+)?"
)
LABEL = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)=\"((?:[^\"\\]|\\.)*)\"")
COMMENT = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*)(?: (.*))?")
SUFFIXES = {
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}


@dataclass(slots=True)
class Family:
    """One metric: what it is, and its samples as finished lines."""

    comments: dict[str, str] = field(default_factory=dict)
    kind: str = "untyped"
    samples: list[str] = field(default_factory=list)


class Families:
    """Collects texts with `add`, and gives them back as one text."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def add(self, text: str, labels: Mapping[str, str] | None = None) -> int:
        """Take in one process's text, `labels` put on each of its samples; returns how many samples there were.

        A label of the same name that a sample has already is kept as `exported_<name>`, as Prometheus itself does.
        """
        taken, current = 0, ""
        for line in text.split("\n"):
            if comment := COMMENT.fullmatch(line):
                current = comment[2]
                self._describe(current, what=comment[1], text=comment[3] or "")
            elif sample := SAMPLE.fullmatch(line):
                current = current if self._holds(current, sample[1]) else sample[1]
                self._family(current).samples.append(_relabelled(sample, labels or {}))
                taken += 1
        return taken

    def text(self) -> str:
        """Everything, in the order in which the families were first seen."""
        return "".join(f"{line}\n" for name, family in self._families.items() for line in _lines(name, family))

    def _family(self, name: str) -> Family:
        return self._families.setdefault(name, Family())

    def _describe(self, name: str, *, what: str, text: str) -> None:
        family = self._family(name)
        if what not in family.comments:
            family.comments[what] = text
            family.kind = text if what == "TYPE" else family.kind

    def _holds(self, family: str, sample: str) -> bool:
        if family not in self._families or not sample.startswith(family):
            return False
        return sample == family or sample.removeprefix(family) in SUFFIXES.get(self._families[family].kind, ())


def _lines(name: str, family: Family) -> Iterable[str]:
    if family.samples:
        if "HELP" in family.comments:
            yield f"# HELP {name} {family.comments['HELP']}"
        yield f"# TYPE {name} {family.kind}"
        yield from family.samples


def _relabelled(sample: re.Match[str], extra: Mapping[str, str]) -> str:
    own = [(f"exported_{name}" if name in extra else name, value) for name, value in LABEL.findall(sample[2] or "")]
    pairs = [*((name, _escaped(value)) for name, value in extra.items()), *own]
    inside = ",".join(f'{name}="{value}"' for name, value in pairs)
    labels = f"{{{inside}}}" if inside else ""
    return f"{sample[1]}{labels} {sample[3]}{sample[4] or ''}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

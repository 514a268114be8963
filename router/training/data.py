"""Labelled prompts: read from JSON lines, checked line by line. Owns the two shapes that are read; trains nothing.

A line holds `prompt` and either `weak_correct` and `strong_correct` (true, false or a number 0…1) or `scores`, a
mapping of model names to 0…1 from which two are chosen by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigurationError

WEAK, STRONG, SCORES = "weak_correct", "strong_correct", "scores"
LEAST = 20
"""Fewer prompts teach nothing and prove nothing."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """`n` prompts with the quality 0…1 (float64 `[n]`) of the small and the large tier's answers, and their groups."""

    prompts: tuple[str, ...]
    weak: NDArray[np.float64]
    strong: NDArray[np.float64]
    groups: tuple[str, ...] | None
    names: tuple[str, str]
    digest: str

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def units(self) -> tuple[str, ...]:
        """What must not be parted when some are held out, as a name for each prompt: its group, and with it whatever
        holds the same prompt, but for spaces."""
        same = [" ".join(prompt.split()) for prompt in self.prompts]
        return tuple(same) if self.groups is None else _joined(self.groups, same)

    def take(self, rows: NDArray[Any]) -> Labelled:
        """These rows alone, with the digest of the whole."""
        return replace(
            self,
            prompts=tuple(self.prompts[row] for row in rows),
            weak=self.weak[rows],
            strong=self.strong[rows],
            groups=None if self.groups is None else tuple(self.groups[row] for row in rows),
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """Which fields of a line are read: two of its `scores`, or the pair of its own; the group's field, if any."""

    weak: str | None = None
    strong: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        if (self.weak is None) != (self.strong is None):
            raise ConfigurationError("Name both models of the pair: --weak NAME --strong NAME.")


def read_labelled(files: Sequence[Path], columns: Columns) -> Labelled:
    """All prompts of these files; raises `ConfigurationError` with the file and the line of the first bad one."""
    rows: list[tuple[str, float, float, str]] = []
    digest = hashlib.sha256(repr(columns).encode())
    for file in files:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"The data in {str(file)!r} cannot be read: {error.strerror}.") from error
        digest.update(content)
        lines = content.split(b"\n")
        rows += [_row(line, columns, where=f"{file}:{at}") for at, line in enumerate(lines, 1) if line.strip()]
    if len(rows) < LEAST:
        raise ConfigurationError(
            f"{len(rows)} labelled prompts are too few: {LEAST} at least, some hundreds to be of use."
        )
    prompts, weak, strong, groups = zip(*rows, strict=True)
    return Labelled(
        prompts=prompts,
        weak=np.array(weak),
        strong=np.array(strong),
        groups=None if columns.group is None else groups,
        names=(columns.weak or "small", columns.strong or "large"),
        digest=digest.hexdigest(),
    )


def _joined(groups: Sequence[str], prompts: Sequence[str]) -> tuple[str, ...]:
    """A name for each prompt, the same for those that a group or an equal prompt joins, over however many steps."""
    leads: dict[tuple[str, str], tuple[str, str]] = {}

    def lead(of: tuple[str, str]) -> tuple[str, str]:
        while leads.setdefault(of, of) != of:
            of = leads[of]
        return of

    for group, prompt in zip(groups, prompts, strict=True):
        leads[lead(("prompt", prompt))] = lead(("group", group))
    return tuple(lead(("group", group))[1] for group in groups)


def _row(line: bytes, columns: Columns, *, where: str) -> tuple[str, float, float, str]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: no JSON: {error}.") from error
    if not isinstance(found, dict) or not isinstance(found.get("prompt"), str):
        raise ConfigurationError(f"{where}: a line is an object with a text `prompt`.")
    weak, strong = _pair(found, columns, where=where)
    return found["prompt"], weak, strong, _group(found, columns.group, where=where)


def _pair(found: dict[str, Any], columns: Columns, *, where: str) -> tuple[float, float]:
    if columns.weak is None or columns.strong is None:
        if WEAK in found and STRONG in found:
            return _quality(found[WEAK], where=f"{where}: {WEAK}"), _quality(found[STRONG], where=f"{where}: {STRONG}")
        named = f" It has `scores` of {_listed(found)}: name two, --weak NAME --strong NAME." if SCORES in found else ""
        raise ConfigurationError(f"{where}: needs `{WEAK}` and `{STRONG}`.{named}")
    scores = found.get(SCORES)
    if not isinstance(scores, dict):
        raise ConfigurationError(f"{where}: needs `scores`, because --weak and --strong name two of them.")
    for name in (columns.weak, columns.strong):
        if name not in scores:
            raise ConfigurationError(f"{where}: no score of {name!r}; there are {_listed(found)}.")
    weak, strong = (_quality(scores[name], where=f"{where}: {name}") for name in (columns.weak, columns.strong))
    return weak, strong


def _listed(found: dict[str, Any]) -> str:
    return ", ".join(sorted(map(str, found[SCORES]))) if isinstance(found[SCORES], dict) else "no mapping"


def _quality(value: object, *, where: str) -> float:
    if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
        raise ConfigurationError(f"{where} is {str(value)[:40]!r}: true, false or a number from 0 to 1.")
    return float(value)


def _group(found: dict[str, Any], field: str | None, *, where: str) -> str:
    if field is None:
        return ""
    if found.get(field) in (None, ""):
        raise ConfigurationError(f"{where}: no field {field!r} to group by, or an empty one.")
    return str(found[field]).encode(errors="replace").decode()

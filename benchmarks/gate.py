"""The regression gate: a stored result against a baseline, condition by condition. Pure but for reading two folders.

A condition says when to fail, or to warn: `ttft_ms_p50 > 1.10x` (against the baseline's figure) or `errors > 0` (as it
is). Names are those of `summary.json`, nested ones with underscores; a figure that is missing meets its condition: it
was not measured. Which conditions hold where none is named: `gate_defaults.py`.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models.errors import ConfigurationError

CONDITION = re.compile(r"\s*([a-z][\w.-]*)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*(x?)\s*")
COMPARE: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
)
SAME = ("kind", "suite", "size", "api", "slos", "load", "profile", "model", "models", "requests")
"""What two results must share, or their figures do not compare. The address may differ."""


@dataclass(frozen=True, slots=True)
class Condition:
    """When to fail or to warn. `relative`: `limit` is a factor of the baseline's figure."""

    figure: str
    sign: str
    limit: float
    relative: bool

    @classmethod
    def read(cls, text: str) -> Condition:
        """As it is written; raises `ConfigurationError`."""
        found = CONDITION.fullmatch(text)
        if found is None:
            raise ConfigurationError(f"{text!r} is no condition. Write 'ttft_ms_p50 > 1.10x' or 'ttft_ms_p99 > 500'.")
        return cls(found[1], found[2], float(found[3]), found[4] == "x")

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.limit:g}{'x' if self.relative else ''}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition, judged. `value` and `baseline` are None where they were not measured."""

    condition: str
    failed: bool
    value: float | None
    baseline: float | None
    sentence: str
    warned: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """A result as it lies in its folder."""

    folder: Path
    origin: Mapping[str, Any]
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Stored:
        """Raises `ConfigurationError` for a folder that holds no result of `bench run` or `bench cost`."""
        return cls(folder, _origin(folder), _json(folder / "summary.json"))

    @property
    def figures(self) -> dict[str, float]:
        """Every number by its name."""
        return dict(figures(self.summary))


def judge(
    run: Stored, baseline: Stored, *, conditions: Sequence[Condition], warnings: Sequence[Condition] = ()
) -> list[Verdict]:
    """Every condition in turn; raises `ConfigurationError` when the two do not compare."""
    _require_alike(run.origin, baseline.origin)
    ours, theirs = run.figures, baseline.figures
    verdicts = [_verdict(one, _figure(ours, one), theirs=_figure(theirs, one)) for one in conditions]
    verdicts += [_advice(_verdict(one, _figure(ours, one), theirs=_figure(theirs, one))) for one in warnings]
    for stored in (run, baseline):
        if limited := stored.summary.get("client_limited"):
            verdicts.append(Verdict("client", False, None, None, f"Beware of {str(stored.folder)!r}: {limited}."))
    return verdicts


def figures(summary: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a summary by its name; entries of a list go by their own name (`goodput_chat_share`)."""
    if isinstance(summary, Mapping):
        if prefix == "errors":
            yield prefix, float(sum(summary.values()))
        for name, value in summary.items():
            yield from figures(value, f"{prefix}_{_slug(name)}" if prefix else str(name))
    elif isinstance(summary, list):
        for entry in summary:
            yield from figures(entry, f"{prefix}_{_slug(entry['slo'])}")
    elif isinstance(summary, int | float) and not isinstance(summary, bool):
        yield prefix, float(summary)


def _figure(figures: Mapping[str, float], condition: Condition) -> float | None:
    """An error that did not happen was counted: none."""
    none = 0.0 if condition.figure.startswith("errors_") else None
    return figures.get(condition.figure, none)


def _slug(name: str) -> str:
    """A name as conditions spell it: `status 503` is `status_503`."""
    return re.sub(r"[^\w.-]+", "_", name)


def _verdict(condition: Condition, ours: float | None, *, theirs: float | None) -> Verdict:
    if ours is None or (condition.relative and theirs is None):
        where = "the run" if ours is None else "the baseline"
        return Verdict(str(condition), True, ours, theirs, f"Failed: {where} has no figure {condition.figure!r}.")
    limit = condition.limit * theirs if condition.relative and theirs is not None else condition.limit
    failed = COMPARE[condition.sign](ours, limit)
    against = f"; the baseline has {theirs:.4g}, so the limit is {limit:.4g}" if condition.relative else ""
    said = f"{'Failed' if failed else 'Passed'}: {condition.figure} is {ours:.4g}, fails if {condition}{against}."
    return Verdict(str(condition), failed, ours, theirs, said)


def _advice(verdict: Verdict) -> Verdict:
    """The same verdict, where it only warns."""
    said = verdict.sentence.replace("Failed: ", "Warning: ", 1).replace(", fails if ", ", warns if ", 1)
    return replace(verdict, failed=False, warned=verdict.failed, sentence=said)


def _require_alike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    first, second = ours["config"], theirs["config"]
    differ = [name for name in SAME if _set(first.get(name)) != _set(second.get(name))]
    if differ:
        raise ConfigurationError(f"The two runs do not compare: they differ in {', '.join(differ)}.")


def _set(value: Any) -> Any:
    """Without the fields that are not set: a baseline may be older than a field."""
    return {name: one for name, one in value.items() if one is not None} if isinstance(value, Mapping) else value


def _origin(folder: Path) -> Mapping[str, Any]:
    if not (folder / "origin.json").exists():
        raise ConfigurationError(f"{str(folder)!r} is not a result: it has no origin.json.")
    found: Mapping[str, Any] = _json(folder / "origin.json")
    if "stopped" not in found or "objective" in found["config"]:
        raise ConfigurationError(f"{str(folder)!r} is no result of `penstock bench run` or `penstock bench cost`.")
    if found.get("stopped") is not None:
        raise ConfigurationError(f"The run in {str(folder)!r} is not complete: {found['stopped']}.")
    return found


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{str(file)!r} cannot be read.", detail=str(error)) from error

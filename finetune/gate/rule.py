"""The rule: whether a candidate's scores let it be served. Pure: paired scores in, a ruling with every reason out.

What has to be shown, each by a one-sided bound over the examples (`bounds.py`):

* `constant`, `permuted`: on the golden set the candidate does better than the best answer that is always the same, and
  than its own answers dealt out to other questions. One that was trained on shuffled answers learns how often each
  comes, and may so beat a base at 0 %; its answers do not depend on the question.
* `base`: it does better than the base; where the base is at the ceiling, it is not worse.
* `live`: it is not worse than what is live.
* `forgetting`: on each task of the regression set, and on all of them, it is not worse than the base.

*Not worse* means two things: the loss is not significantly more than `margin`, and the examples are enough to exclude a
loss of `resolution`. What could be so, and cannot be shown with so few examples, is `not enough examples`, which does
not pass and says how many it takes. Owns neither answers nor scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict, Field

from finetune.gate.bounds import Interval, interval
from models.config import Frozen

Outcome = Literal["passed", "failed", "not enough examples", "not looked at"]
HOPELESS = 20
"""An effect that would take so many times the examples to be seen is none."""
MOST_NEEDED = 1_000_000


class GateRule(Frozen):
    """The thresholds; a job's `penstock.gate` may set others. Scores are 0…1, so 0.02 is two points."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True)

    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of the bounds against base, live and for forgetting.")
    control_confidence: float = Field(0.99, gt=0.5, lt=1, description="Of the bounds against chance.")
    ceiling: float = Field(0.95, gt=0, le=1, description="From this score of the base on it need not be beaten.")
    margin: float = Field(0.02, ge=0, lt=1, description="A loss that is tolerated.")
    resolution: float = Field(0.1, gt=0, le=1, description="A loss that the regression set must be able to exclude.")
    live_resolution: float = Field(0.1, gt=0, le=1, description="The same, against the live version.")
    regression_required: bool = Field(False, description="Whether a job without a regression set cannot pass.")
    max_examples: int = Field(1_000, ge=10, le=10_000, description="Examples that are asked, of each set.")
    judge: str | None = Field(
        None, max_length=256, description="The model that grades where the metric is judge; unset: the base."
    )


@dataclass(frozen=True, slots=True)
class Scored:
    """One example's scores, 0…1. `constant`, `permuted`: what answers would earn that do not depend on the question."""

    task: str
    candidate: float
    base: float
    live: float | None = None
    constant: float | None = None
    permuted: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One condition. `difference`: the candidate's mean score minus the other's, with bounds; `needed`: about how many
    examples would settle it; `decides`: whether the ruling hangs on it.
    """

    name: str
    outcome: Outcome
    sentence: str
    difference: Interval | None = None
    needed: int | None = None
    decides: bool = True


@dataclass(frozen=True, slots=True)
class Ruling:
    """The word of the gate."""

    passed: bool
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> list[str]:
        """Why it did not pass."""
        return [check.sentence for check in self.checks if check.decides and _stops(check)]


def ruled(golden: Sequence[Scored], regression: Sequence[Scored], *, rule: GateRule, seed: int = 0) -> Ruling:
    """The ruling on a candidate. Raises `ValueError` without any golden example."""
    if not golden:
        raise ValueError("a ruling needs at least one golden example")
    checks = (
        _better_than_chance("constant", golden, rule=rule, seed=seed),
        _better_than_chance("permuted", golden, rule=rule, seed=seed),
        _against_base(golden, rule=rule, seed=seed),
        _against_live(golden, rule=rule, seed=seed),
        *_forgetting(regression, rule=rule, seed=seed),
    )
    return Ruling(not any(check.decides and _stops(check) for check in checks), checks)


def _stops(check: Check) -> bool:
    return check.outcome in ("failed", "not enough examples")


_CONTROLS: Mapping[str, str] = {
    "constant": "the best answer that is always the same",
    "permuted": "its own answers dealt out to other questions",
}


def _better_than_chance(name: str, golden: Sequence[Scored], *, rule: GateRule, seed: int) -> Check:
    pairs = [(one.candidate, other) for one in golden if (other := getattr(one, name)) is not None]
    if not pairs:
        return Check(name, "not looked at", f"{_upper(_CONTROLS[name])}: there is none for this metric.", decides=False)
    if min(other for _, other in pairs) >= 1:
        return Check(name, "failed", "Every golden example expects the same answer: nothing can be told by them.")
    found = _difference(pairs, confidence=rule.control_confidence, seed=seed)
    return _better(name, _CONTROLS[name], found=found)


def _against_base(golden: Sequence[Scored], *, rule: GateRule, seed: int) -> Check:
    found = _difference([(one.candidate, one.base) for one in golden], confidence=rule.confidence, seed=seed)
    level = sum(one.base for one in golden) / len(golden)
    if level >= rule.ceiling:
        return _not_worse("base", f"the base, which is at the ceiling ({level:.1%})", found=found, rule=rule)
    return _better("base", "the base", found=found)


def _against_live(golden: Sequence[Scored], *, rule: GateRule, seed: int) -> Check:
    pairs = [(one.candidate, one.live) for one in golden if one.live is not None]
    if not pairs:
        return Check("live", "not looked at", "Nothing is live under this name: no version to compare with.", None)
    found = _difference(pairs, confidence=rule.confidence, seed=seed)
    return _not_worse("live", "the live version", found=found, rule=rule, resolution=rule.live_resolution)


def _forgetting(regression: Sequence[Scored], *, rule: GateRule, seed: int) -> Iterator[Check]:
    if not regression:
        outcome: Outcome = "failed" if rule.regression_required else "not looked at"
        yield Check("forgetting", outcome, "NO REGRESSION SET: forgetting was not looked at.")
        return
    pairs = [(one.candidate, one.base) for one in regression]
    found = _difference(pairs, confidence=rule.confidence, seed=seed)
    yield _not_worse("forgetting", "the base on the regression set", found=found, rule=rule)
    tasks = sorted({one.task for one in regression})
    if len(tasks) < 2:
        return
    each = 1 - (1 - rule.confidence) / len(tasks)  # Bonferroni: of many tasks one is bad by chance
    for task in tasks:
        pairs = [(one.candidate, one.base) for one in regression if one.task == task]
        found = _difference(pairs, confidence=each, seed=seed)
        check = _not_worse(f"forgetting: {task}", f"the base on the task {task!r}", found=found, rule=rule)
        yield _only_if_failed(check)


def _only_if_failed(check: Check) -> Check:
    """A task with few examples stops nobody by itself: the whole set has to be enough."""
    values = {name: getattr(check, name) for name in Check.__slots__}
    return Check(**{**values, "decides": check.outcome != "not enough examples"})


def _better(name: str, other: str, *, found: Interval) -> Check:
    """Whether the lower bound of the difference is above 0."""
    told = f"{_points(found.mean)} against {other} (at least {_points(found.low)}, {found.count} examples)"
    if found.low > 0:
        return Check(name, "passed", f"Better: {told}.", found)
    needed = _needed(found, reach=found.mean, half=found.mean - found.low)
    if needed is None or needed > HOPELESS * found.count:
        return Check(name, "failed", f"Not better: {told}.", found)
    return Check(
        name, "not enough examples", f"Not enough examples: {told}; about {needed:,} would show it.", found, needed
    )


def _not_worse(name: str, other: str, *, found: Interval, rule: GateRule, resolution: float | None = None) -> Check:
    """Whether the loss is not significantly more than the margin, and a loss of the resolution is excluded."""
    resolution = rule.resolution if resolution is None else resolution
    loss, least, most = -found.mean, -found.high, -found.low
    told = (
        f"{_points(found.mean)} against {other} ({_points(found.low)} to {_points(found.high)}, {found.count} examples)"
    )
    if least > rule.margin:
        return Check(name, "failed", f"Worse by more than {rule.margin * 100:g} points: {told}.", found)
    if most < resolution or (most <= resolution <= rule.margin):
        return Check(name, "passed", f"Not worse: {told}.", found)
    lost = loss >= resolution  # it looks worse, and more examples would say so
    needed = (
        _needed(found, reach=loss - rule.margin, half=loss - least)
        if lost
        else _needed(found, reach=resolution - loss, half=most - loss)
    )
    words = f"Not enough examples: {told}; a loss of {resolution * 100:g} points cannot be excluded"
    more = "." if needed is None else f", for which it takes about {needed:,}."
    return Check(name, "not enough examples", words + more, found, needed)


def _needed(found: Interval, *, reach: float, half: float) -> int | None:
    """How many examples bring a bound that is `half` away as near as `reach`: it comes closer by their square root."""
    if reach <= 0:
        return None
    needed = found.count * (half / reach) ** 2
    return None if needed > MOST_NEEDED else max(found.count + 1, math.ceil(needed))


def _difference(pairs: Sequence[tuple[float, float]], *, confidence: float, seed: int) -> Interval:
    return interval([one - other for one, other in pairs], confidence=confidence, seed=seed)


def _points(value: float) -> str:
    return f"{value * 100:+.1f} points"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]

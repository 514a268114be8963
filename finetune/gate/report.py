"""What the gate has found, as JSON for the job's row, and as Markdown. Pure: counts nothing; pictures are `plots.py`'s.

The JSON holds no text of a question or an answer: examples are named by the number of their line in their file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from finetune.gate.golden import Golden
from finetune.gate.rule import Check, GateRule, Ruling, Scored
from finetune.gate.score import is_json, mean

MOST_LOST = 20
NO_REGRESSION = "No regression set: forgetting was not looked at."
SIDES = ("candidate", "base", "live")


@dataclass(frozen=True, slots=True)
class Looked:
    """One set as it was judged. `goldens`: the scored examples; `answers`: the candidate's; `left_out`: examples that
    the base or what is live could not be asked; `unjudged`: those where the judge had no usable word of their answers;
    `failed`: scored examples that the candidate alone failed to answer.
    """

    file: str
    goldens: Sequence[Golden]
    answers: Sequence[str]
    scored: Sequence[Scored]
    left_out: int = 0
    unjudged: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class GateReport:
    """Everything of one judging. `models`: side → the name that was asked; `warnings`: what was not looked at."""

    ruling: Ruling
    rule: GateRule
    models: Mapping[str, str]
    golden: Looked
    regression: Looked | None
    seed: int
    warnings: Sequence[str] = field(default_factory=tuple)

    def as_json(self) -> dict[str, Any]:
        """`passed`, `reasons`, `warnings`, `checks`, `models`, `golden`, `regression`, `rule`, `seed`."""
        missing = [] if self.regression is not None else [NO_REGRESSION]
        return {
            "passed": self.ruling.passed,
            "reasons": self.ruling.reasons,
            "warnings": [*missing, *self.warnings],
            "checks": [_check(check) for check in self.ruling.checks],
            "models": dict(self.models),
            "golden": _set(self.golden),
            "regression": None if self.regression is None else _set(self.regression),
            "rule": self.rule.model_dump(),
            "seed": self.seed,
        }


def markdown(report: Mapping[str, Any]) -> str:
    """The page, from the JSON of a report. What a report does not have, the page has not either."""
    verdict = "passed" if report.get("passed") else "did not pass"
    lines = ["# The gate", "", f"The candidate **{verdict}**.", ""]
    lines += [f"* {_cell(reason)}" for reason in report.get("reasons", ())]
    lines += [f"* **{_cell(warning)}**" for warning in report.get("warnings", ())]
    if checks := report.get("checks"):
        lines += ["", "| check | outcome | what was found |", "| --- | --- | --- |"]
        lines += [_row(one.get(key) for key in ("name", "outcome", "sentence")) for one in checks]
    for name in ("golden", "regression"):
        if found := report.get(name):
            lines += _section(name, found)
    if models := report.get("models"):
        asked = ", ".join(f"{side}: {_cell(name)}" for side, name in models.items())
        lines += ["", f"Asked: {asked}. Greedy; bounds are bootstrap bounds, seed {report.get('seed', 0)}."]
    return "\n".join(lines) + "\n"


def _set(looked: Looked) -> dict[str, Any]:
    sides = {side: _side(looked.scored, side) for side in SIDES}
    tasks = sorted({one.task for one in looked.scored})
    wanted = [place for place, golden in enumerate(looked.goldens) if golden.metric == "json"]
    lost = [
        golden.line for golden, one in zip(looked.goldens, looked.scored, strict=True) if one.candidate < one.base
    ]  # where the candidate is worse than the base: what is worth reading first
    return {
        "file": looked.file,
        "examples": len(looked.scored),
        "left_out": looked.left_out,
        "unjudged": looked.unjudged,
        "failed": looked.failed,
        "scores": {side: score for side, score in sides.items() if score is not None},
        "controls": {name: _side(looked.scored, name) for name in ("constant", "permuted")},
        "tasks": {task: _task([one for one in looked.scored if one.task == task]) for task in tasks},
        "valid_json": mean(float(is_json(looked.answers[place])) for place in wanted) if wanted else None,
        "lost": lost[:MOST_LOST],
        "lost_count": len(lost),
    }


def _task(scored: Sequence[Scored]) -> dict[str, Any]:
    sides = {side: _side(scored, side) for side in SIDES}
    return {"examples": len(scored), **{side: score for side, score in sides.items() if score is not None}}


def _side(scored: Sequence[Scored], name: str) -> float | None:
    found = [value for one in scored if (value := getattr(one, name)) is not None]
    return mean(found) if found else None


def _check(check: Check) -> dict[str, Any]:
    told = {"name": check.name, "outcome": check.outcome, "sentence": check.sentence, "decides": check.decides}
    difference = None if check.difference is None else asdict(check.difference)
    return {**told, "difference": difference, "needed": check.needed}


def _section(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"## {name.capitalize()} set: {found.get('examples', 0):,} examples", "")
    scores = found.get("scores", {})
    sides = [side for side in SIDES if side in scores]
    yield _row(["task", "examples", *sides])
    yield "| --- | ---: |" + " ---: |" * len(sides)
    for task, row in {**found.get("tasks", {}), "all": {**found, **scores}}.items():
        yield _row([task, row.get("examples"), *(_share(row.get(side)) for side in sides)])
    yield from (line for said in _remarks(found) for line in ("", said))


def _remarks(found: Mapping[str, Any]) -> Iterator[str]:
    """What is to be known of a set besides its scores."""
    chance = [f"{key} {_share(value)}" for key, value in found.get("controls", {}).items() if value is not None]
    if chance:
        yield f"Without the question: {', '.join(chance)}."
    if found.get("valid_json") is not None:
        yield f"Valid JSON, where it is asked for: {_share(found['valid_json'])} of the candidate's answers."
    if found.get("lost_count"):
        some = ", ".join(map(str, found.get("lost", ())))
        yield f"The base does better on {found['lost_count']} of them, such as the lines {some}."
    left_out, unjudged = found.get("left_out", 0), found.get("unjudged", 0)
    if left_out or unjudged:
        yield f"Left out: {left_out} that could not be asked, {unjudged} without a judgement."
    if failed := found.get("failed"):
        said = "refused, empty, cut off, or not judged"
        yield f"Counted as wrong: {failed} to which the answer of the candidate alone was {said}."


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _row(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(value: Any) -> str:
    """One line, in which nothing of a model's or a client's text is markup."""
    text = "" if value is None else " ".join(str(value).split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in text)

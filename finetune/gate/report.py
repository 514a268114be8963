"""What the gate has found, as JSON for the job's row, and as Markdown. Pure: counts nothing; pictures are `plots.py`'s.

The JSON holds no text of a question or an answer: examples are named by the number of their line in their file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    """The page, from the JSON of a report."""
    verdict = "passed" if report["passed"] else "did not pass"
    lines = ["# The gate", "", f"The candidate **{verdict}**.", ""]
    lines += [f"- {reason}" for reason in report["reasons"]]
    lines += [f"- **{warning}**" for warning in report["warnings"]]
    lines += ["", "| check | outcome | what was found |", "| --- | --- | --- |"]
    lines += [f"| {_cell(one['name'])} | {one['outcome']} | {_cell(one['sentence'])} |" for one in report["checks"]]
    for name in ("golden", "regression"):
        if report[name] is not None:
            lines += _section(name, report[name])
    models = ", ".join(f"{side}: {name}" for side, name in report["models"].items())
    lines += ["", f"Asked: {models}. Greedy; bounds are bootstrap bounds, seed {report['seed']}."]
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
    yield from ("", f"## {name.capitalize()} set: {found['examples']:,} examples", "")
    sides = [side for side in SIDES if side in found["scores"]]
    yield "| task | examples | " + " | ".join(sides) + " |"
    yield "| --- | ---: |" + " ---: |" * len(sides)
    rows = {**found["tasks"], "all": {"examples": found["examples"], **found["scores"]}}
    for task, row in rows.items():
        yield f"| {_cell(task)} | {row['examples']} | " + " | ".join(f"{row[side]:.1%}" for side in sides) + " |"
    chance = {key: value for key, value in found["controls"].items() if value is not None}
    if chance:
        yield from (
            "",
            "Without the question: " + ", ".join(f"{key} {value:.1%}" for key, value in chance.items()) + ".",
        )
    if found["lost_count"]:
        some = ", ".join(map(str, found["lost"]))
        yield from ("", f"The base does better on {found['lost_count']} of them, such as the lines {some}.")
    if found["left_out"] or found["unjudged"]:
        yield from (
            "",
            f"Left out: {found['left_out']} that could not be asked, {found['unjudged']} without a judgement.",
        )
    if failed := found.get("failed"):
        said = "refused, empty, cut off, or not judged"
        yield from ("", f"Counted as wrong: {failed} to which the answer of the candidate alone was {said}.")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

"""The judge of a fine-tuned version: loads it, asks it, the base and what is live, and rules.

The story reads in `judge`. Owns who is asked what, and whose failure counts: a question is left out, for every side,
only where the base or what is live has no score; a candidate that has none where they have is wrong. The rule is
`finetune/gate`'s, the calls are `asking.py`'s. Can be asked again at any time: nothing changes but that the version
stays warm for a while and the registry is told the score.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from finetune.gate.floor import GateFloor
from finetune.gate.golden import Golden
from finetune.gate.report import GateReport, Looked
from finetune.gate.rule import GateRule, Scored, ruled
from finetune.gate.score import constants, judge_prompt, judged, permuted, rotated, score, thresholded
from finetune.release import Verdict
from models.adapters.states import LOADED
from models.errors import InvalidRequest
from serving.adapters import rules
from serving.adapters.registry import AdapterRegistry
from serving.adapters.releases import Actor, Releases
from serving.store.jobs import JobRow
from serving.tuning.asking import Ask, NoAnswer, Question, Reply, Unaskable
from serving.tuning.golden_files import GoldenSet
from serving.tuning.job_rules import rule_of

T = TypeVar("T")

WARM_S = 1800.0
"""How long a candidate stays loaded for its judging and its release; also the longest that a judging may take."""
LEAST_TOKENS, MOST_TOKENS = 64, 1_024
JUDGE_TOKENS = 16
MOST_LEFT_OUT = 0.1
"""Of the questions, those that the others failed at: with more of them there is too little to compare with."""
WHOLE = frozenset({"exact", "json"})
"""The metrics by which a part of the expected answer is wrong."""
SEED = 0


class GoldenFiles(Protocol):
    """Where the questions of a job are."""

    async def golden(self, job: JobRow) -> GoldenSet:
        """What is asked. Raises `PenstockError`."""
        ...

    async def regression(self, job: JobRow) -> GoldenSet | None:
        """The examples of other tasks, where the job names any."""
        ...


@dataclass(frozen=True, slots=True)
class Sides:
    """The names that are asked. `live`: None where nothing else is; `grader`: for the metric `judge`."""

    candidate: str
    base: str
    live: str | None
    live_number: int | None
    grader: str

    @property
    def names(self) -> dict[str, str]:
        """Side → model."""
        found = {"candidate": self.candidate, "base": self.base}
        return found if self.live is None else {**found, "live": self.live}

    @property
    def others(self) -> list[str]:
        """The sides that the candidate is held against."""
        return [side for side in self.names if side != "candidate"]


class StackJudge:
    """Judges versions on the running stack."""

    def __init__(
        self,
        ask: Ask,
        files: GoldenFiles,
        *,
        registry: AdapterRegistry,
        releases: Releases,
        floor: GateFloor,
        warm_s: float = WARM_S,
    ) -> None:
        self._ask = ask
        self._files = files
        self._registry = registry
        self._releases = releases
        self._floor = floor
        self._warm_s = warm_s

    async def judge(self, job: JobRow, adapter_version: int) -> Verdict:
        """The verdict on a version of the job's adapter.

        Raises `PenstockError` when it could not be judged: `NoAnswer` where a try later may help, `InvalidRequest`
        where the files or thresholds are to blame.
        """
        rule = rule_of(job.asked, self._floor)
        questions = await self._files.golden(job)
        regression = await self._files.regression(job)
        actor = Actor(job.org, job.created_by)
        await self._releases.load(actor, job.adapter, number=adapter_version, warm_s=self._warm_s)
        sides = await self._sides(job, adapter_version, rule=rule)
        try:
            async with asyncio.timeout(self._warm_s):
                golden = await self._looked(questions, sides, org=job.org, rule=rule)
                others = None
                if regression is not None:
                    old = Sides(sides.candidate, sides.base, None, None, sides.grader)
                    others = await self._looked(regression, old, org=job.org, rule=rule)
        except TimeoutError as error:
            raise NoAnswer(f"The version could not be judged within {self._warm_s:g} s.") from error
        tasks = () if others is None else others.scored
        ruling = await asyncio.to_thread(ruled, golden.scored, tasks, rule=rule, seed=SEED)
        warnings = () if questions.warning is None else (questions.warning,)
        report = GateReport(ruling, rule, sides.names, golden, others, seed=SEED, warnings=warnings)
        await self._told(actor, job.adapter, golden=golden, numbers=(adapter_version, sides.live_number))
        return Verdict(ruling.passed, report.as_json())

    async def _sides(self, job: JobRow, number: int, *, rule: GateRule) -> Sides:
        """Versions are asked by their own names: a release in between changes nobody under our hands."""
        shown = await self._registry.show(job.org, job.adapter)
        rows = {row.number: row for row in shown.versions}
        candidate = rules.engine_name_of(shown.adapter, rows[number]) or ""
        alias = next((alias for alias in shown.aliases if alias.name == job.adapter), None)
        live_number = None if alias is None else alias.targets[0][0]
        row = rows.get(live_number or 0)
        if row is None or row.number == number or row.state not in LOADED:
            return Sides(candidate, job.base, None, None, rule.judge or job.base)
        live = rules.engine_name_of(shown.adapter, row)
        return Sides(candidate, job.base, live, row.number, rule.judge or job.base)

    async def _looked(self, questions: GoldenSet, sides: Sides, *, org: str, rule: GateRule) -> Looked:
        """Ask every side every question, and score what came."""
        picked = [questions.examples[place] for place in sampled(questions.examples, rule.max_examples)]
        asked = await _all([self._answers(golden, sides, org=org) for golden in picked])
        kept = [at for at, replies in enumerate(asked) if all(replies[side] is not None for side in sides.others)]
        _require_enough(
            len(kept), len(picked), problem="could not be asked: they are too long for the models, or refused"
        )
        examples = [picked[at] for at in kept]
        answers = {side: [asked[at][side] for at in kept] for side in sides.names}
        own = [_text(reply) for reply in answers["candidate"]]
        done = [
            _done(golden, {side: replies[at] for side, replies in answers.items()})
            for at, golden in enumerate(examples)
        ]
        texts: dict[str, Sequence[str | None]] = {"candidate": done}
        texts |= {side: [_text(reply) for reply in answers[side]] for side in sides.others}
        grades = {side: await self._graded(examples, texts[side], sides=sides, org=org) for side in sides.names}
        chance = await self._permuted(examples, own, sides=sides, org=org)
        constant = await asyncio.to_thread(constants, examples)
        scored = _scored(examples, grades, controls=(constant, chance))
        usable = [at for at, one in enumerate(scored) if one is not None]
        _require_enough(len(usable), len(examples), problem="got no usable word from the model that judges")
        return Looked(
            questions.file,
            [examples[at] for at in usable],
            [own[at] for at in usable],
            [one for one in scored if one is not None],
            left_out=len(picked) - len(kept),
            unjudged=len(examples) - len(usable),
            failed=sum(grades["candidate"][at] is None for at in usable),
        )

    async def _answers(self, golden: Golden, sides: Sides, *, org: str) -> dict[str, Reply | None]:
        """Side → answer; None where the model refuses the question."""
        question = Question(golden.messages, max_tokens_of(golden), golden.prompt, golden.tools)
        found: dict[str, Reply | None] = dict.fromkeys(sides.names)
        for side, model in sides.names.items():
            with suppress(Unaskable):
                found[side] = await self._ask.ask(model, question, org=org)
        return found

    async def _graded(
        self, goldens: Sequence[Golden], answers: Sequence[str | None], *, sides: Sides, org: str
    ) -> list[float | None]:
        """Each answer's score, of none none; in a thread, for of long texts it takes seconds, and the loop has calls
        to answer.
        """
        found = await asyncio.to_thread(_computed, goldens, answers)
        pairs = zip(goldens, answers, strict=True)
        asked = {
            place: self._grade(golden, answer, sides=sides, org=org)
            for place, (golden, answer) in enumerate(pairs)
            if golden.metric == "judge" and answer is not None
        }
        for place, grade in zip(asked, await _all(list(asked.values())), strict=True):
            found[place] = grade
        return found

    async def _grade(self, golden: Golden, answer: str, *, sides: Sides, org: str) -> float | None:
        """The word of the model that judges; None where it says neither right nor wrong."""
        told = {"role": "user", "content": judge_prompt(golden, answer)}
        try:
            grade = judged((await self._ask.ask(sides.grader, Question((told,), JUDGE_TOKENS), org=org)).text)
        except Unaskable:
            return None
        return None if grade is None else thresholded(golden, grade)

    async def _permuted(
        self, goldens: Sequence[Golden], answers: Sequence[str], *, sides: Sides, org: str
    ) -> list[float | None]:
        """What the candidate's answers earn at other questions."""
        found = await asyncio.to_thread(permuted, goldens, answers, seed=SEED)
        pairs = rotated([place for place, golden in enumerate(goldens) if golden.metric == "judge"])
        asked = [self._grade(goldens[place], answers[other], sides=sides, org=org) for place, other in pairs.items()]
        for place, grade in zip(pairs, await _all(asked), strict=True):
            found[place] = grade
        return found

    async def _told(self, actor: Actor, name: str, *, golden: Looked, numbers: tuple[int, int | None]) -> None:
        """The registry hears how both versions did, so that a canary of one against the other is judged by it."""
        sides = zip(numbers, ("candidate", "live"), strict=True)
        for number, side in sides:
            if number is None:
                continue
            passed = round(sum(getattr(one, side) for one in golden.scored))
            told = {"suite": f"gate:{golden.file}"[:64], "passed": passed, "count": len(golden.scored)}
            await self._registry.scored(actor, name, number=number, score=told)


def max_tokens_of(golden: Golden) -> int:
    """As many as the example says, else enough for what is expected: a token is a byte at least."""
    if golden.max_tokens is not None:
        return golden.max_tokens
    return min(MOST_TOKENS, max(LEAST_TOKENS, _bytes_of(golden)))


def _bytes_of(golden: Golden) -> int:
    return len(golden.expected.encode("utf-8", "surrogatepass"))


def sampled(goldens: Sequence[Golden], most: int) -> list[int]:
    """Which examples are asked: all, or those with the smallest digests, so that it is the same ones every time."""
    ranked = sorted(range(len(goldens)), key=lambda place: goldens[place].digest)
    return sorted(ranked[:most])


def _text(reply: Reply | None) -> str:
    return "" if reply is None else reply.text


def _done(golden: Golden, replies: Mapping[str, Reply | None]) -> str | None:
    """The candidate's answer; None where it alone failed to give one: refused, empty, or cut off although the others
    were not and what is expected had room. What is compared as a whole shows by itself whether it is cut.
    """
    reply = replies["candidate"]
    if reply is None or not reply.text.strip():
        return None
    alone = not any(other.cut for other in replies.values() if other is not None and other is not reply)
    had_room = _bytes_of(golden) <= max_tokens_of(golden)
    return None if reply.cut and alone and had_room and golden.metric not in WHOLE else reply.text


def _computed(goldens: Sequence[Golden], answers: Sequence[str | None]) -> list[float | None]:
    """Example by example; None where there is no answer, or a model has to judge."""
    pairs = zip(goldens, answers, strict=True)
    return [None if answer is None or golden.metric == "judge" else score(golden, answer) for golden, answer in pairs]


def _scored(
    goldens: Sequence[Golden],
    grades: Mapping[str, Sequence[float | None]],
    *,
    controls: tuple[Sequence[float | None], Sequence[float | None]],
) -> list[Scored | None]:
    """Example by example; None where the base or what is live has no score. A candidate without one is wrong."""
    found: list[Scored | None] = []
    for at, golden in enumerate(goldens):
        row = {side: values[at] for side, values in grades.items()}
        candidate, base = row.pop("candidate") or 0.0, row["base"]
        if base is None or None in row.values():
            found.append(None)
            continue
        constant, chance = (control[at] for control in controls)
        found.append(Scored(golden.task, candidate, base, row.get("live"), constant, chance))
    return found


def _require_enough(left: int, asked: int, *, problem: str) -> None:
    if not left or (asked - left) / asked > MOST_LEFT_OUT:
        raise InvalidRequest(f"{asked - left} of {asked} examples {problem}.", code="invalid_file", param="golden_file")


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Every result in order; the first error ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(item) for item in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]

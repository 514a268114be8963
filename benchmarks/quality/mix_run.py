"""A mix from the first call to the report: asked, graded, and held against other ways to route. Owns the order of it.

What is asked is `mix.py`, what is counted `policies.py`, how it reads `mix_report.py`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.calls import Address
from benchmarks.quality.answers import Answer, asking
from benchmarks.quality.labels import Pair
from benchmarks.quality.mix import AUTO, Asked, Bill, ask_all, taken
from benchmarks.quality.mix_report import FamilyRow, MixReport, Moved
from benchmarks.quality.policies import NOTHING, Doubles, Row, Taken, at_share, mixed, oracle, row
from benchmarks.quality.questions import DemoDraw, Question, demo_questions
from benchmarks.quality.shares import LIVE_LIMIT_S, SetShare, move
from models.catalog.schema import Price
from models.demo.evaluate import MAX_TOKENS
from models.demo.families import Split
from models.errors import ConfigurationError, Unavailable
from models.types import Tier
from router.training.baselines import ngram_ridge
from router.training.data import Labelled

SEED = 20_261_127
EASY_SHARE = 0.8
LEAST = 20
"""Fewer prompts say nothing."""
NGRAM = "n-gram ridge"


@dataclass(frozen=True, slots=True)
class MixOrder:
    """What was asked for. `set_share` moves the threshold for each of `shares`; `labels` teach the n-gram baseline.

    `prices`: of the pair's cards.
    """

    address: Address
    pair: Pair
    prices: Mapping[Tier, Price]
    prompts: int = 500
    seed: int = SEED
    concurrency: int = 8
    labels: Labelled | None = None
    shares: tuple[float, ...] = ()
    set_share: SetShare | None = None
    live_limit_s: float = LIVE_LIMIT_S


@dataclass(frozen=True, slots=True)
class Sides:
    """The questions that every call has answered, and what both tiers made of them; the baselines' scores."""

    order: MixOrder
    questions: Sequence[Question]
    rows: Sequence[int]
    small: Taken
    large: Taken
    scores: dict[str, Doubles]

    def row(self, name: str, found: Taken) -> Row:
        """The figures of a way to route."""
        return row(name, found, large=self.large, seed=self.order.seed)

    def chosen(self, name: str, choice: Doubles) -> Row:
        """The figures of a choice between the answers that are there."""
        return self.row(name, mixed(choice, small=self.small, large=self.large))

    def taken(self, asked: Asked, model: str, *, always: Tier | None = None) -> Taken:
        """What a model's answers to these questions came to; `always` names its tier where it is known."""
        bill = Bill(self.order.prices, always)
        return taken(asked.answers[model], self.questions, rows=self.rows, bill=bill)


def calls(order: MixOrder) -> int:
    """How many calls the order comes to."""
    return order.prompts * (3 + len(order.shares))


def measure(order: MixOrder, heard: Callable[[], object]) -> tuple[MixReport, list[dict[str, Any]]]:
    """Ask and count; the report, and each question's outcome. `heard` is called for every call.

    Raises `PenstockError`.
    """
    if order.shares and order.set_share is None:
        raise ConfigurationError("Shares are set on the stack of a state folder: --state-dir.")
    questions = demo_questions(DemoDraw(order.prompts, Split.HELD_OUT, EASY_SHARE, order.seed))
    if order.labels is not None and (known := {one.prompt for one in questions} & set(order.labels.prompts)):
        raise ConfigurationError(
            f"{len(known)} prompts of the mix are in --labels: they must be of the training wordings."
        )
    return asyncio.run(_measure(order, questions, heard=heard))


async def _measure(
    order: MixOrder, questions: list[Question], *, heard: Callable[[], object]
) -> tuple[MixReport, list[dict[str, Any]]]:
    async with asking(order.address, max_tokens=MAX_TOKENS) as asker:

        async def ask(*some: str) -> Asked:
            bound = order.concurrency
            return await ask_all(asker, questions, models=some, concurrency=bound, seed=order.seed, heard=heard)

        asked = await ask(*order.pair, AUTO)
        sides = _sides(asked, questions, order=order)
        report = _report(sides, asked)
        for share in order.shares:
            assert order.set_share is not None
            seen = await move(asker, share, set_share=order.set_share, limit_s=order.live_limit_s)
            report.moved.append(_moved(share, await ask(AUTO), seen=seen, sides=sides))
    return report, list(_outcomes(sides, asked))


def _sides(asked: Asked, questions: list[Question], *, order: MixOrder) -> Sides:
    rows = asked.whole(range(len(questions)))
    if len(rows) < LEAST:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in asked.failed.items())
        raise Unavailable(f"Only {len(rows)} of {len(questions)} prompts got all their answers ({reasons}).")
    texts = [questions[at].prompt for at in rows]
    scores = {"prompt length": np.array([float(len(text)) for text in texts])}
    if order.labels is not None:
        gain = order.labels.strong - order.labels.weak
        scores[NGRAM] = ngram_ridge((order.labels.prompts, texts), gain)
    sides = Sides(order, questions, rows, NOTHING, NOTHING, scores)
    small = sides.taken(asked, order.pair.small, always="small")
    large = sides.taken(asked, order.pair.large, always="large")
    if not large.right.sum():
        raise ConfigurationError("The large tier answers none of these prompts: there is nothing to compare with.")
    return replace(sides, small=small, large=large)


def _report(sides: Sides, asked: Asked) -> MixReport:
    answers = asked.answers[AUTO]
    auto = sides.taken(asked, AUTO)
    share, count = float(auto.large.mean()), len(sides.rows)
    rows = [
        sides.row("always-small", sides.small),
        sides.row("always-large", sides.large),
        sides.row("`auto`, live", auto),
        sides.chosen("oracle", oracle(sides.small, sides.large)),
        sides.chosen("random, same share", np.full(count, share)),
        *(sides.chosen(f"{name}, same share", at_share(some, share)) for name, some in sides.scores.items()),
    ]
    given = [answer for at in sides.rows if (answer := answers[at]) is not None]
    return MixReport(
        asked=len(sides.questions),
        prompts=count,
        failed=asked.failed,
        fell_back=sum(answer.fell_back for answer in given),
        rows=rows,
        families=_families(sides, auto),
        policy=_policy(given),
        notes=tuple(_notes(sides.order)),
    )


def _moved(share: float, asked: Asked, *, seen: bool, sides: Sides) -> Moved:
    """`auto` at another threshold, on the questions that it and all calls before have answered."""
    kept = np.array([asked.answers[AUTO][at] is not None for at in sides.rows])
    if kept.sum() < LEAST:
        raise Unavailable(f"At a share of {share:.0%} only {kept.sum()} prompts got an answer.")
    some = replace(
        sides,
        rows=[at for at, there in zip(sides.rows, kept, strict=True) if there],
        small=sides.small.take(kept),
        large=sides.large.take(kept),
        scores={name: scores[kept] for name, scores in sides.scores.items()},
    )
    auto = some.row(f"`auto` at {share:.0%}", some.taken(asked, AUTO))
    ngram = some.scores.get(NGRAM)
    baseline = None if ngram is None else some.chosen(NGRAM, at_share(ngram, auto.share.value))
    return Moved(share, seen, auto, baseline)


def _families(sides: Sides, auto: Taken) -> dict[str, FamilyRow]:
    names = np.array([sides.questions[at].about["family"] for at in sides.rows])
    found = {}
    for name in sorted(set(names.tolist())):
        rows = names == name
        means = (sides.small.right, sides.large.right, auto.right, auto.large)
        found[name] = FamilyRow(int(rows.sum()), *(float(values[rows].mean()) for values in means))
    return found


def _policy(answers: Sequence[Answer]) -> str | None:
    """The policies that the answers' routes name, the most frequent first."""
    named = Counter((answer.route or "").split(":")[0].strip() for answer in answers)
    return ", ".join(name for name, _ in named.most_common() if name) or None


def _notes(order: MixOrder) -> Iterator[str]:
    yield "Same share: the policy's highest scores go to the large tier until its share is that of `auto`, live."
    if order.labels is None:
        yield "Without --labels there is no n-gram baseline."
    else:
        yield f"The n-gram ridge has learned from {len(order.labels):,} labelled prompts."


def _outcomes(sides: Sides, asked: Asked) -> Iterator[dict[str, Any]]:
    """What every question came to, for whoever counts again."""
    for at in sides.rows:
        question = sides.questions[at]
        given = {model: answer for model, answers in asked.answers.items() if (answer := answers[at]) is not None}
        yield {
            "prompt": question.prompt,
            "family": question.about["family"],
            "answers": {
                model: {
                    "right": question.grade(answer.text),
                    "tier": answer.tier,
                    "route": answer.route,
                    "prompt_tokens": answer.prompt_tokens,
                    "completion_tokens": answer.completion_tokens,
                }
                for model, answer in given.items()
            },
        }

"""How good a task head is: right tasks, right needs for retrieval, and whether its probabilities hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from router.evaluate import expected_calibration_error
from router.resampling import bootstrap, numbered
from router.tasks import LEARNED, Measured, probabilities
from router.training.task_prompts import Example

SEED = 0
ENOUGH = 0.5
"""Probability from which on a prompt counts as one that needs retrieval."""
TITLES = {
    "wordings": "wordings held out in turn",
    "families": "families of wordings held out in turn",
    "unseen": "the list that is never trained on",
}

Doubles = NDArray[np.float64]


def judge(examples: Sequence[Example], logits: Doubles, *, units: Sequence[str] | None = None) -> Measured:
    """What these logits `[n, len(LEARNED) + 1]` are worth: those of the learned tasks and, last, of retrieval.

    The interval draws `units` whole (a name for each example), by default each example by itself.
    """
    tasks, retrieval = probabilities(logits)
    told = np.array([LEARNED.index(example.task) for example in examples])
    needs = np.array([example.retrieval for example in examples], dtype=np.float64)
    guessed = tasks.argmax(axis=1)
    confusion = np.zeros((len(LEARNED), len(LEARNED)), dtype=np.int64)
    np.add.at(confusion, (told, guessed), 1)
    hit = (told == guessed).astype(np.float64)
    whole = None if units is None else numbered(units)
    interval = bootstrap(len(hit), lambda drawn: float(hit[drawn].mean()), seed=SEED, units=whole)
    called = retrieval >= ENOUGH
    right = float(needs[called].sum())
    return Measured(
        prompts=len(examples),
        accuracy=_rounded(hit.mean()),
        accuracy_interval=(_rounded(interval.low), _rounded(interval.high)),
        recall=_shares(confusion, axis=1),
        precision=_shares(confusion, axis=0),
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        task_ece=_rounded(expected_calibration_error(tasks.max(axis=1), hit)),
        retrieval_prompts=int(needs.sum()),
        retrieval_precision=_rounded(right / max(1, called.sum())),
        retrieval_recall=_rounded(right / max(1.0, needs.sum())),
        retrieval_auc=_rounded(_auc(retrieval, needs)),
        retrieval_ece=_rounded(expected_calibration_error(retrieval, needs)),
    )


def markdown(measured: Mapping[str, Measured]) -> str:
    """A table of all of them, and of the last one the tasks one by one."""
    lines = ["| measured on | prompts | tasks right | ECE | retrieval: precision | recall | AUC | ECE |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, one in measured.items():
        low, high = one.accuracy_interval
        cells = f"{one.prompts} | {one.accuracy:.1%} ({low:.1%} … {high:.1%}) | {one.task_ece:.3f}"
        cells += f" | {one.retrieval_precision:.1%} | {one.retrieval_recall:.1%}"
        lines.append(f"| {TITLES[name]} | {cells} | {one.retrieval_auc:.3f} | {one.retrieval_ece:.3f} |")
    last = list(measured.values())[-1]
    lines += ["", f"| task | recall | precision | {' | '.join(f'as {name}' for name in LEARNED)} |"]
    lines.append("| --- " * (3 + len(LEARNED)) + "|")
    for name, row in zip(LEARNED, last.confusion, strict=True):
        counts = " | ".join(map(str, row))
        lines.append(f"| {name} | {last.recall[name]:.1%} | {last.precision[name]:.1%} | {counts} |")
    return "\n".join(lines)


def _shares(confusion: NDArray[np.int64], *, axis: int) -> dict[str, float]:
    """The diagonal over the sums along this axis."""
    whole = np.maximum(1, confusion.sum(axis=axis))
    return {name: _rounded(share) for name, share in zip(LEARNED, np.diag(confusion) / whole, strict=True)}


def _auc(scores: Doubles, needs: Doubles) -> float:
    """Share of pairs, one that needs it and one that does not, that are in the right order; ties count half."""
    high, low = scores[needs == 1], scores[needs == 0]
    if not len(high) or not len(low):
        return 0.5
    above = (high[:, None] > low).mean() + (high[:, None] == low).mean() / 2
    return float(above)


def _rounded(value: float) -> float:
    return round(float(value), 4)

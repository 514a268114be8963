"""From example prompts to a `TaskHead`: two logistic regressions on one set of inputs. Owns the recipe.

Wordings count equally, however many prompts were made of them. The logits are divided by a temperature that is fitted
on families of wordings held out in turn (Guo et al. 2017): what users write is mostly of no family that is listed. What
is measured on prompts held out is measured with a temperature that was fitted inside the rest.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from router.features import TOKEN
from router.tasks import FAR, LEARNED, Manifest, TaskHead, probabilities
from router.tasks.cues import NAMES, rows
from router.training.folds import FOLDS, splits
from router.training.task_assess import judge
from router.training.task_prompts import NAME, Example

STRENGTH = 0.03
"""The inverse of the penalty, with a weight of one per wording."""
NAMED_SCALE, WORD_SCALE = 2.0, 4.0
"""How far a cue's deviation and a word count beside a sentence vector that is brought to a deviation of one."""
SPREAD = 6
"""Wordings that a word must stand in to get a weight of its own."""
STEPS = FOLDS + 1 + 2 * FOLDS * (FOLDS + 1)
SEED = 0

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Examples with the sentence vectors of their texts, `[n, d]`."""

    examples: tuple[Example, ...]
    sentence: Floats

    @property
    def texts(self) -> tuple[str, ...]:
        """Theirs."""
        return tuple(example.text for example in self.examples)

    def take(self, kept: NDArray[np.int64]) -> Embedded:
        """These alone."""
        return Embedded(tuple(self.examples[at] for at in kept), self.sentence[kept])


@dataclass(frozen=True, slots=True)
class Origin:
    """What the manifest says of where a head comes from: the embedder's id and the digest of the file of prompts."""

    embedder: str
    prompts_digest: str


def train(learned: Embedded, unseen: Embedded, *, origin: Origin, heard: Callable[[], None] = lambda: None) -> TaskHead:
    """Fit a head to the learned examples and measure it on others. `heard` is called behind each of `STEPS` steps."""
    examples = learned.examples
    head = _fit(learned, origin=origin, warmth=_warmth(learned, origin=origin, heard=heard))
    heard()
    first = np.unique([example.wording for example in examples], return_index=True)[1]
    plain = [examples[at] for at in first]
    wordings, families = [example.wording for example in examples], [example.family for example in examples]
    measured = {
        name: judge(
            plain, held_out(learned, units, origin=origin, heard=heard)[first], units=[units[at] for at in first]
        )
        for name, units in (("wordings", wordings), ("families", families))
    }
    measured["unseen"] = judge(unseen.examples, head.logits(unseen.texts, unseen.sentence))
    return replace(head, manifest=head.manifest.model_copy(update={"measured": measured}))


def cues_digest(texts: Sequence[str]) -> str:
    """SHA-256 of what the named cues say of these texts: it changes when the code that counts does."""
    return hashlib.sha256(rows(texts, {}).round(3).tobytes()).hexdigest()


def held_out(
    learned: Embedded, units: Sequence[str], *, origin: Origin, heard: Callable[[], None] = lambda: None
) -> Doubles:
    """Logits `[n, t + 1]` of every example by a head, its temperature included, that saw no example of its unit."""

    def warm(rest: Embedded) -> TaskHead:
        return _fit(rest, origin=origin, warmth=_warmth(rest, origin=origin, heard=heard))

    return _in_turn(learned, units, fit=warm, heard=heard)


def _warmth(learned: Embedded, *, origin: Origin, heard: Callable[[], None]) -> Doubles:
    """The temperatures `[t + 1]` of these examples, from families of them held out in turn."""
    families = [example.family for example in learned.examples]
    found = _in_turn(learned, families, fit=lambda rest: _fit(rest, origin=origin), heard=heard)
    return _temperatures(found, learned.examples)


def _in_turn(
    learned: Embedded, units: Sequence[str], *, fit: Callable[[Embedded], TaskHead], heard: Callable[[], None]
) -> Doubles:
    """Logits `[n, t + 1]` of every example by what `fit` makes of those that are not of its fold of units."""
    found = np.zeros((len(units), len(LEARNED) + 1))
    for rest, held in splits(units, seed=SEED):
        head, others = fit(learned.take(rest)), learned.take(held)
        found[held] = head.logits(others.texts, others.sentence)
        heard()
    return found


def _fit(learned: Embedded, *, origin: Origin, warmth: Doubles | None = None) -> TaskHead:
    """A head that nothing was measured of; its logits are divided by `warmth` `[t + 1]`."""
    examples, width = learned.examples, learned.sentence.shape[1]
    words = _words(examples)
    seen = rows(learned.texts, {word: at for at, word in enumerate(words)})
    named = seen[:, : len(NAMES)]
    shares = _shares(examples)
    mean = np.average(named, axis=0, weights=shares).astype(np.float32)
    scale = np.sqrt(np.average((named - mean) ** 2, axis=0, weights=shares)).astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1))
    standard = np.clip((named - mean) / scale, -FAR, FAR)
    stretch = np.repeat([np.sqrt(width), NAMED_SCALE, WORD_SCALE], [width, len(NAMES), len(words)])
    inputs = np.concatenate([learned.sentence, standard, seen[:, len(NAMES) :]], axis=1) * stretch
    weights, bias = _regressions(inputs, examples)
    warm = np.ones(len(bias)) if warmth is None else warmth
    manifest = Manifest(
        cues_digest=cues_digest(learned.texts),
        embedder=origin.embedder,
        tasks=LEARNED,
        words=words,
        prompts_digest=origin.prompts_digest,
        prompts=len(examples),
        wordings=len({example.wording for example in examples}),
        measured={},
    )
    return TaskHead(
        manifest=manifest,
        mean=mean,
        scale=scale,
        weights=(weights * stretch[:, None] / warm).astype(np.float32),
        bias=(bias / warm).astype(np.float32),
    )


def _regressions(inputs: Doubles, examples: Sequence[Example]) -> tuple[Doubles, Doubles]:
    """Weights `[f, t + 1]` and bias `[t + 1]`: the tasks in the order of `LEARNED`, then retrieval."""
    shares = _shares(examples)
    order = [LEARNED.index(example.task) for example in examples]
    if len(set(order)) < len(LEARNED) or len({example.retrieval for example in examples}) < 2:
        raise ValueError(
            "every task and both answers on retrieval need examples in more families, of which some are held out"
        )
    tasks = LogisticRegression(C=STRENGTH, max_iter=2000).fit(inputs, order, sample_weight=shares)
    needs = [example.retrieval for example in examples]
    retrieval = LogisticRegression(C=STRENGTH, max_iter=2000).fit(inputs, needs, sample_weight=shares)
    return np.vstack([tasks.coef_, retrieval.coef_]).T, np.concatenate([tasks.intercept_, retrieval.intercept_])


def _shares(examples: Sequence[Example]) -> Doubles:
    """What each counts, `[n]`: those of one wording count 1 together."""
    counts = Counter(example.wording for example in examples)
    return np.array([1 / counts[example.wording] for example in examples])


def _words(examples: Sequence[Example]) -> tuple[str, ...]:
    """Those that stand in many wordings, in alphabetical order; what fills a wording does not count."""
    wordings = {NAME.sub(" ", example.wording) for example in examples}
    counts = Counter(word for wording in wordings for word in set(TOKEN.findall(wording.lower())) if word != "\n")
    return tuple(sorted(word for word, count in counts.items() if count >= SPREAD))


def _temperatures(logits: Doubles, examples: Sequence[Example]) -> Doubles:
    """`[t + 1]`: the one of the tasks, as often as there are tasks, and that of retrieval, each of least log loss."""
    shares = _shares(examples)
    told = np.array([LEARNED.index(example.task) for example in examples])
    needs = np.array([example.retrieval for example in examples])

    def task_loss(power: float) -> float:
        tasks, _ = probabilities(logits / np.exp(power))
        return float(-(shares * np.log(np.maximum(tasks[np.arange(len(told)), told], 1e-4))).sum())

    def retrieval_loss(power: float) -> float:
        _, found = probabilities(logits / np.exp(power))
        return float(-(shares * np.log(np.maximum(np.where(needs, found, 1 - found), 1e-4))).sum())

    powers = [minimize_scalar(loss, bounds=(-2, 2), method="bounded").x for loss in (task_loss, retrieval_loss)]
    warmth: Doubles = np.exp(np.repeat(powers, [len(LEARNED), 1]))
    return warmth

"""What a classifier process knows: the embedder, the task head, and the few router models that are asked for.

Embeds each prompt once, for the live model, for the one in its shadow and for whoever gets the vector. Owns which
models are in memory and the drift counts. Blocks: it is called from one worker thread. Knows no HTTP and no Ray.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.embedders import Embedder, Embeddings
from router.drift import Drift
from router.manifest import PolicyName
from router.model import Prompts, RouterModel, Scores
from router.surface import surface
from serving.classifier.messages import Ask, Example, Refused, Score, Standing, Told

if TYPE_CHECKING:
    from router.tasks import TaskGuess, TaskHead

KEPT = 4
"""Models in memory: the live one, its shadow, and what they replace."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, and what it has seen lately."""

    model: RouterModel
    drift: Drift


class Scorer:
    """Answers asks. `find(version)` gives a published model or raises `ConfigurationError`; a version is in memory once
    it was loaded, and never looked for while prompts wait."""

    def __init__(self, embedder: Embedder, tasks: TaskHead | None, *, find: Callable[[str], RouterModel]) -> None:
        self._embedder = embedder
        self._tasks = tasks
        self._find = find
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    def knows(self, version: str) -> bool:
        """Whether this version is in memory. May be asked from any thread."""
        return version in self._loaded

    def fetch(self, version: str) -> RouterModel:
        """Find a version, wherever it lies; may be called from any thread, and take its time there.

        Raises `ConfigurationError` when it is missing, broken, or not for this embedder.
        """
        model = self._find(version)
        model.manifest.require(self._embedder)
        return model

    def keep(self, version: str, model: RouterModel) -> None:
        """Have this version in memory; the one that was used least lately may go for it."""
        self._loaded[version] = Loaded(model, Drift(model.reference))
        while len(self._loaded) > KEPT:
            self._loaded.popitem(last=False)

    def load(self, version: str) -> None:
        """Fetch a version and keep it, unless it is in memory already. Raises as `fetch`."""
        if not self.knows(version):
            self.keep(version, self.fetch(version))

    def warm(self) -> None:
        """One text through the embedder: the first pass is the slow one, and a dead one would not come back."""
        self._embedder.embed(["ready"])

    def read(self, asks: Sequence[Ask]) -> list[Told | Refused]:
        """One answer for each, in order. A version that is not in memory refuses its own asks, and no others."""
        texts = [ask.text for ask in asks]
        embedded = self._embedder.embed(texts)
        prompts = Prompts(surface(texts), embedded.depths, embedded.sentence)
        wanted = dict.fromkeys(part for ask in asks for part in _parts(ask))
        scored = {part: self._scored(part, asks, prompts=prompts) for part in wanted}
        guesses = self._guesses(texts, embedded)
        return [
            self._told(ask, at, scored=scored, sentence=embedded.sentence[at], guess=guesses[at])
            for at, ask in enumerate(asks)
        ]

    def drift(self) -> dict[str, Standing]:
        """Version → the prompts seen last and those of its training, in bins; the first of several processes add up."""
        return {
            version: Standing(
                now=dict(loaded.drift.counts()),
                then=dict(loaded.model.reference.training),
                about=loaded.model.manifest.about(),
            )
            for version, loaded in self._loaded.items()
        }

    def _scored(self, part: Part, asks: Sequence[Ask], *, prompts: Prompts) -> dict[int, Score] | Refused:
        """The scores of one version and policy, by the place of the ask. What is live counts as seen."""
        if part.version not in self._loaded:
            return Refused("version", "the version is not loaded")
        self._loaded.move_to_end(part.version)
        model = self._loaded[part.version].model
        rows = [at for at, ask in enumerate(asks) if part in _parts(ask)]
        found = model.score(prompts.take(np.array(rows)), policy=part.policy)
        seen = np.array(
            [place for place, at in enumerate(rows) if asks[at].version == part.version and asks[at].counts], np.intp
        )
        self._loaded[part.version].drift.add(
            prompts.sentence[np.array(rows)[seen]],
            gain=found.gain[seen],
            distance=found.distance[seen],
            policy=part.policy,
        )
        return {at: _score(found, place) for place, at in enumerate(rows)}

    def _guesses(self, texts: Sequence[str], embedded: Embeddings) -> Sequence[TaskGuess | None]:
        if self._tasks is None:
            return [None] * len(texts)
        return list(self._tasks.classify(texts, embedded.sentence))

    def _told(
        self,
        ask: Ask,
        at: int,
        *,
        scored: Mapping[Part, dict[int, Score] | Refused],
        sentence: NDArray[np.float32],
        guess: TaskGuess | None,
    ) -> Told | Refused:
        found = scored[Part(ask.version, ask.policy)]
        if isinstance(found, Refused):
            return found
        model = self._loaded[ask.version].model
        shadow = None if ask.shadow is None else scored[Part(ask.shadow, ask.policy)]
        near = model.nearest(sentence, ask.nearest) if ask.nearest else ()
        return Told(
            score=found[at],
            sentence=sentence.tobytes(),
            doubt=doubt(model, found[at], policy=ask.policy),
            task=None if guess is None else guess.task,
            retrieval=None if guess is None else guess.retrieval,
            shadow=shadow[at] if isinstance(shadow, dict) else None,
            nearest=tuple(Example(one.text, one.similarity, one.small, one.large) for one in near),
        )


class Part(NamedTuple):
    """A version and the means by which it scores."""

    version: str
    policy: PolicyName


def _parts(ask: Ask) -> tuple[Part, ...]:
    """Who scores this prompt: the live version, and the one in its shadow."""
    live = Part(ask.version, ask.policy)
    return (live,) if ask.shadow is None else (live, Part(ask.shadow, ask.policy))


def doubt(model: RouterModel, score: Score, *, policy: PolicyName) -> str | None:
    """Why this score had better not decide: the prompt lies, or the model wavers, beyond all that training saw."""
    farthest, widest = model.manifest.farthest, model.manifest.widest[policy]
    if score.distance > farthest:
        return f"unlike every labelled prompt: distance {score.distance:.3f} > {farthest:.3f}"
    if score.error > widest:
        return f"the model is not sure: error {score.error:.3f} > {widest:.3f}"
    return None


def _score(found: Scores, at: int) -> Score:
    parts = (found.small[at], found.large[at], found.gain[at], found.error[at], found.distance[at])
    return Score(*(float(part) for part in parts))

"""What a learned router must beat: scores that cost nothing, know one thing, or know everything.

Each is a score per prompt, higher for what should go to the large tier. Owns no metric.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from router.model import Prompts
from router.training.data import Labelled

Doubles = NDArray[np.float64]

NEIGHBOURS = 50
FEW = 200
"""Of fewer prompts every word counts, however rare."""
TRAINED = ("n-gram ridge", "nearest neighbours")
UNTRAINED = ("random", "prompt length", "oracle")


def untrained(labelled: Labelled, *, seed: int) -> dict[str, Doubles]:
    """Those that learn nothing from other prompts. The oracle sees both answers; no router can."""
    chance = np.random.default_rng(seed)
    lengths = np.array([len(prompt) for prompt in labelled.prompts], np.float64)
    found = (chance.random(len(labelled)), lengths, labelled.strong - labelled.weak)
    return dict(zip(UNTRAINED, found, strict=True))


def trained(
    prompts: tuple[Prompts, Prompts], texts: tuple[Sequence[str], Sequence[str]], *, gain: Doubles
) -> dict[str, Doubles]:
    """Scores of the second prompts by what the first ones and their `gain` teach."""
    found = (ngram_ridge(texts, gain), neighbours(prompts, gain))
    return dict(zip(TRAINED, found, strict=True))


def ngram_ridge(texts: tuple[Sequence[str], Sequence[str]], gain: Doubles) -> Doubles:
    """Ridge regression on TF-IDF of words and pairs of words."""
    words = TfidfVectorizer(
        ngram_range=(1, 2), min_df=1 if len(texts[0]) < FEW else 2, sublinear_tf=True, strip_accents="unicode"
    )
    seen = words.fit_transform(texts[0])
    return np.asarray(Ridge(alpha=10.0, solver="lsqr").fit(seen, gain).predict(words.transform(texts[1])))


def neighbours(prompts: tuple[Prompts, Prompts], gain: Doubles) -> Doubles:
    """The mean gain of the nearest prompts by the cosine of their sentence vectors, the nearer the more."""
    known, asked = prompts
    near = asked.sentence @ known.sentence.T
    count = min(NEIGHBOURS, len(known))
    rows = np.argpartition(-near, count - 1, axis=1)[:, :count]
    weights = np.exp(10.0 * np.take_along_axis(near, rows, axis=1).astype(np.float64))
    return np.asarray((weights * gain[rows]).sum(axis=1) / weights.sum(axis=1))

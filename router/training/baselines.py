"""What a learned router must beat: scores that cost nothing, know one thing, or know everything.

Each is a score per prompt, higher for what should go to the large tier. Owns no metric.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from router.training.data import Labelled

Doubles = NDArray[np.float64]

FEW = 200
"""Of fewer prompts every word counts, however rare."""
UNTRAINED = ("random", "prompt length", "oracle")


def untrained(labelled: Labelled) -> dict[str, Doubles]:
    """Those that learn nothing from other prompts. The oracle sees both answers; no router can.

    Chance scores all alike: equal scores are a straight line on the curve, which is the mean over all orders.
    """
    lengths = np.array([len(prompt) for prompt in labelled.prompts], np.float64)
    found = (np.zeros(len(labelled)), lengths, labelled.strong - labelled.weak)
    return dict(zip(UNTRAINED, found, strict=True))


def ngram_ridge(texts: tuple[Sequence[str], Sequence[str]], gain: Doubles) -> Doubles:
    """Ridge regression on TF-IDF of words and pairs of words."""
    words = TfidfVectorizer(
        ngram_range=(1, 2), min_df=1 if len(texts[0]) < FEW else 2, sublinear_tf=True, strip_accents="unicode"
    )
    seen = words.fit_transform(texts[0])
    return np.asarray(Ridge(alpha=10.0, solver="lsqr").fit(seen, gain).predict(words.transform(texts[1])))

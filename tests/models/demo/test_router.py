"""The router that ships with the demo tiers, by the real embedder, on wordings that it was not trained on."""

import numpy as np
import pytest

from benchmarks.quality.questions import DemoDraw, demo_questions
from models.catalog.store import PACKAGE
from models.demo.families import FAMILIES, Difficulty, Split
from models.embedders.sentence import SentenceSettings, build
from router.model import read_model
from router.training.prepare import prepare

FOLDER = PACKAGE / "demo" / "router"
BYTES = 6 * 2**20


def test_it_sends_hard_prompts_to_the_large_tier_and_few_others() -> None:
    model, embedder = read_model(FOLDER), build(SentenceSettings(kind="sentence"))
    model.manifest.require(embedder)
    questions = demo_questions(DemoDraw(240, Split.HELD_OUT, 0.5, 11))
    texts = [question.prompt for question in questions]
    hard = np.array([FAMILIES[one.about["family"]].difficulty is Difficulty.HARD for one in questions])
    scores = model.score(prepare(texts, embedder))
    large = scores.gain >= model.manifest.thresholds["learned"]
    assert large[hard].mean() >= 0.95
    assert large[~hard].mean() <= 0.1
    assert not model.trained_on(texts).any()
    assert scores.small[~hard].mean() > scores.small[hard].mean() + 0.5
    declined = (scores.distance > model.manifest.farthest) | (scores.error > model.manifest.widest["learned"])
    assert declined.mean() < 0.02


@pytest.mark.parametrize("policy", ["learned", "knn"])
def test_it_is_small_has_nothing_against_it_and_can_be_promoted_by_share(policy: str) -> None:
    model = read_model(FOLDER)
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < BYTES
    assert model.manifest.warnings == ()
    assert -1 < model.threshold_for(0.3, policy) < 1  # type: ignore[arg-type]

"""What a classifier process says of prompts, with a really trained router."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.embedders import Embedder
from models.embedders.hashing import HashingSettings, build
from models.errors import ConfigurationError
from router.model import Prompts, RouterModel
from router.surface import surface
from serving.classifier.messages import Ask, Refused, Told
from serving.classifier.published import PublishedRouters
from serving.classifier.scorer import KEPT, Scorer, doubt

SUM = "If 12 apples cost 30, what do 7 cost?"
HELLO = "Say hello to marina and the boats."
Versions = tuple[str, str]


def ask(text: str, version: str, **options: Any) -> Ask:
    return Ask(text, version, options.pop("policy", "learned"), 5.0, **options)


def told(scorer: Scorer, *asks: Ask) -> list[Told]:
    for one in asks:
        scorer.load(one.version)
    found = scorer.read(asks)
    assert all(isinstance(one, Told) for one in found), found
    return [one for one in found if isinstance(one, Told)]


@pytest.mark.parametrize("policy", ["learned", "knn"])
def test_a_prompt_that_the_small_tier_fails_on_gains_more(scorer: Scorer, versions: Versions, policy: str) -> None:
    hard, easy = told(scorer, ask(SUM, versions[0], policy=policy), ask(HELLO, versions[0], policy=policy))
    assert hard.score.gain > easy.score.gain + 0.3
    assert hard.score.small < easy.score.small


@pytest.mark.parametrize("policy", ["learned", "knn"])
def test_the_scores_are_the_models_own_alone_and_in_a_batch(
    scorer: Scorer, versions: Versions, model: RouterModel, embedder: Embedder, policy: Any
) -> None:
    embedded = embedder.embed([SUM])
    expected = model.score(Prompts(surface([SUM]), embedded.depths, embedded.sentence), policy=policy)
    alone = told(scorer, ask(SUM, versions[0], policy=policy))[0]
    batch = told(scorer, ask(HELLO, versions[0], policy=policy), ask(SUM, versions[0], policy=policy))[1]
    assert alone.score == batch.score
    assert alone.score.gain == expected.gain[0]
    assert np.frombuffer(alone.sentence, np.float32) == pytest.approx(embedded.sentence[0])


def test_versions_policies_and_shadows_may_be_mixed_in_one_batch(scorer: Scorer, versions: Versions) -> None:
    one, other = versions
    scorer.load(one)
    scorer.load(other)
    asks = [
        ask(SUM, one),
        ask(HELLO, other, policy="knn", shadow=one),
        ask(SUM, other, shadow=one),
        ask(HELLO, "f" * 12),
    ]
    found = scorer.read(asks)
    for at, single in enumerate(asks):
        assert found[at] == scorer.read([single])[0]
    assert isinstance(found[3], Refused)
    assert found[3].cause == "version"
    assert isinstance(found[2], Told)
    assert found[2].shadow == found[2].score  # the two differ in nothing that scores


def test_a_shadow_that_cannot_be_loaded_leaves_the_live_version_alone(scorer: Scorer, versions: Versions) -> None:
    found = told(scorer, ask(SUM, versions[0], shadow="f" * 12))[0]
    assert found.shadow is None
    assert found.score == told(scorer, ask(SUM, versions[0]))[0].score


def test_the_nearest_labelled_prompts_come_when_asked_for(scorer: Scorer, versions: Versions) -> None:
    found = told(scorer, ask(SUM, versions[0], nearest=3))[0].nearest
    assert len(found) == 3
    assert all("cost" in one.text for one in found)
    assert found[0].similarity >= found[2].similarity
    assert told(scorer, ask(SUM, versions[0]))[0].nearest == ()


def test_a_prompt_beyond_all_that_training_saw_is_doubted(scorer: Scorer, versions: Versions) -> None:
    strange = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich"
    assert "unlike every labelled prompt" in (told(scorer, ask(strange, versions[0]))[0].doubt or "")
    assert told(scorer, ask(SUM, versions[0]))[0].doubt is None


def test_a_model_that_wavers_more_than_ever_in_training_is_doubted(
    model: RouterModel, scorer: Scorer, versions: Versions
) -> None:
    score = told(scorer, ask(SUM, versions[0]))[0].score
    calm = model.manifest.model_copy(update={"widest": {"learned": -1.0, "knn": -1.0}})
    assert "not sure" in (doubt(replace(model, manifest=calm), score, policy="learned") or "")


def test_what_the_live_version_sees_is_counted_and_what_a_shadow_sees_is_not(
    scorer: Scorer, versions: Versions
) -> None:
    scorer.load(versions[1])
    told(scorer, *(ask(SUM, versions[0], shadow=versions[1]) for _ in range(3)))
    found = scorer.drift()
    assert sum(found[versions[0]].now["gain learned"]) == 3
    assert sum(found[versions[0]].now["distance"]) == 3
    assert sum(found[versions[1]].now["distance"]) == 0
    assert sum(found[versions[0]].then["gain learned"]) == 300


def test_a_router_of_another_embedder_is_refused_by_name(routers: PublishedRouters, versions: Versions) -> None:
    other = Scorer(build(HashingSettings(kind="hashing", dimensions=32)), None, find=routers.model)
    with pytest.raises(ConfigurationError, match="trained with embedder hashing-64"):
        other.load(versions[0])
    assert isinstance(other.read([ask(SUM, versions[0])])[0], Refused)


def test_a_version_with_other_features_is_refused(
    scorer: Scorer, routers: PublishedRouters, model: RouterModel, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    replace(model, manifest=model.manifest.model_copy(update={"surface_version": 0})).write(folder)
    with pytest.raises(ConfigurationError, match="features of version 0"):
        routers.publish(folder)
    version = routers.artifacts.publish(folder, kind="router", name="default", about={}).version
    with pytest.raises(ConfigurationError, match="features of version 0"):
        scorer.load(version)
    found = scorer.read([ask(SUM, version)])[0]
    assert isinstance(found, Refused)
    assert found.cause == "version"


def test_only_the_last_few_versions_stay_in_memory(scorer: Scorer, model: RouterModel, versions: Versions) -> None:
    loaded: list[str] = []

    def find(version: str) -> RouterModel:
        loaded.append(version)
        return model

    many = Scorer(scorer._embedder, None, find=find)
    for number in range(KEPT + 1):
        many.load(str(number))
    many.load(str(KEPT))
    assert loaded == [str(number) for number in range(KEPT + 1)]
    many.load("0")
    assert loaded[-1] == "0"

"""Two published versions of a router that was really trained, for an embedder without a model."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.artifacts.folder import FolderSettings
from models.embedders import Embedder
from models.embedders.hashing import HashingSettings, build
from router.model import RouterModel
from router.training.calibrate import for_share, with_threshold
from router.training.data import Columns, read_labelled
from router.training.fit import Recipe, train
from router.training.prepare import prepare
from serving.classifier.published import PublishedRouters
from serving.classifier.scorer import Scorer
from tests.router.training.made import ROUNDS, write


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return build(HashingSettings(kind="hashing"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> RouterModel:
    labelled = read_labelled([write(tmp_path_factory.mktemp("made") / "data.jsonl", 300)], Columns())
    recipe = Recipe(embedder.id, embedder.depths, embedder.max_tokens, rounds=ROUNDS)
    made = train(prepare(labelled.prompts, embedder), labelled, recipe=recipe).model
    return with_threshold(made, for_share(made, 0.5).threshold)


@pytest.fixture
def routers(tmp_path: Path) -> PublishedRouters:
    return PublishedRouters.of(
        FolderSettings(kind="folder"), home=tmp_path / "artifacts", cache=tmp_path / "fetched", name="default"
    )


@pytest.fixture
def versions(routers: PublishedRouters, model: RouterModel, tmp_path: Path) -> tuple[str, str]:
    """Two versions, which differ in their seed's name alone."""
    made = []
    for seed in (0, 1):
        folder = tmp_path / f"model{seed}"
        replace(model, manifest=model.manifest.model_copy(update={"seed": seed})).write(folder)
        made.append(routers.publish(folder))
    return made[0], made[1]


@pytest.fixture
def scorer(embedder: Embedder, routers: PublishedRouters) -> Scorer:
    return Scorer(embedder, None, find=routers.model)

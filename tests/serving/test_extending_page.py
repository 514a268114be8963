"""The page docs/extending.md does what it says."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.artifacts import ARTIFACT_STORES
from models.artifacts.store import ArtifactStore
from models.catalog import Catalog
from models.clock import SystemClock
from models.embedders import EMBEDDERS
from models.plugins import Registry
from models.types import GenerationRequest
from router.policies import POLICIES
from serving.fitting import refusals
from serving.settings import load_settings
from tests.models.artifacts.made import FILES, files_in, made, published

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()


def block(name: str) -> str:
    """The code block that begins with this file name."""
    found = re.search(rf"```\w+\n(# (?:\S+/)?{re.escape(name)}.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The table of kinds with the page's file and its one row."""
    yield from table(tmp_path, monkeypatch, kind="short")


@pytest.fixture
def embedders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    yield from table(tmp_path, monkeypatch, kind="letters")


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    yield from table(tmp_path, monkeypatch, kind="memory")


def table(folder: Path, monkeypatch: pytest.MonkeyPatch, *, kind: str) -> Iterator[Registry]:
    """A table with one row: the file of the page."""
    (folder / f"extending_{kind}.py").write_text(block(f"{kind}.py"))
    monkeypatch.syspath_prepend(folder)
    yield Registry("family", {kind: f"extending_{kind}"})
    sys.modules.pop(f"extending_{kind}", None)


def test_the_policy_of_the_page_is_read_by_its_row_and_decides(policies: Registry) -> None:
    settings = policies.read({"kind": "short", "most_characters": 3})
    policy = policies.module("short").build(settings)
    asked = [
        GenerationRequest("r", "chat", "auto", {}, stream=False, include_usage=False, text=text, received=0)
        for text in ("abc", "abcd")
    ]
    assert [policy.choose(request).ranking[0] for request in asked] == ["small", "large"]
    assert policies.module("short").Settings.model_fields["most_characters"].description


def test_the_embedder_of_the_page_gives_the_shapes_of_the_contract(embedders: Registry) -> None:
    made = embedders.module("letters").build(embedders.read({"kind": "letters", "max_tokens": 5}))
    found = made.embed(["", "Anna", "aaaaab", "\ud83d" * 10_000])
    assert found.sentence.shape == (4, made.dimensions)
    assert found.depths.shape == (4, len(made.depths), made.dimensions)
    assert np.linalg.norm(found.sentence, axis=1) == pytest.approx(1)
    assert found.depths[2, 0, 0] == 5
    assert found.sentence.dtype == found.depths.dtype == np.float32


def test_the_artifact_store_of_the_page_publishes_finds_and_fetches(stores: Registry, tmp_path: Path) -> None:
    settings = stores.read({"kind": "memory"})
    store = ArtifactStore(stores.module("memory").build(settings, tmp_path), max_bytes=2**20 * 3, clock=SystemClock())
    artifact = published(store, made(tmp_path / "made"))
    assert published(store, tmp_path / "made") == artifact
    assert store.names("router") == ["default"]
    assert store.find("router", "default", version=artifact.version[:6]) == artifact
    assert files_in(store.fetch(artifact, to=tmp_path / "fetched")) == FILES
    assert store.sweep("router", (), older_than_s=-1) == [("default", artifact.version)]
    assert store.names("router") == []


@pytest.mark.parametrize(
    ("name", "file", "kind", "family"),
    [
        ("POLICIES", "router/policies/__init__.py", "short", POLICIES),
        ("EMBEDDERS", "models/embedders/__init__.py", "letters", EMBEDDERS),
        ("ARTIFACT_STORES", "models/artifacts/__init__.py", "memory", ARTIFACT_STORES),
    ],
)
def test_the_page_names_the_tables_that_there_are(name: str, file: str, kind: str, family: Registry) -> None:
    assert f"`{name}` in `{file}`" in PAGE
    assert kind not in family.kinds


def test_the_card_of_the_page_joins_the_catalog(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(block("models.yaml"))
    catalog = Catalog.load(tmp_path / "models.yaml")
    assert catalog.card("house-7b").tier == "large"
    assert len(catalog) == len(Catalog.load()) + 1


def test_the_profile_of_the_page_loads_and_fits_the_gpu_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(block("models.yaml"))
    (tmp_path / "house.yaml").write_text(block("house.yaml"))
    settings = load_settings(str(tmp_path / "house.yaml"))
    assert settings.tiers.card("large") == "house-7b"
    assert refusals(settings, Catalog.load(tmp_path / "models.yaml")) == []


def test_a_profile_that_asks_for_too_much_is_refused_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(block("models.yaml"))
    (tmp_path / "house.yaml").write_text(block("house.yaml").replace("a100-80gb", "l4-24gb"))
    settings = load_settings(str(tmp_path / "house.yaml"))
    assert refusals(settings, Catalog.load(tmp_path / "models.yaml")) != []

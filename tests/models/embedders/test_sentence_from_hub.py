"""A sentence model of the hub: pulled once by the real client, from a hub on loopback, and offline from then on."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from pydantic import ValidationError

from models.catalog.pull import Puller
from models.catalog.sources import Access
from models.catalog.store import ModelStore
from models.embedders import Embedder, build_embedder
from models.embedders.sentence import SentenceSettings, shipped_folder
from models.errors import ConfigurationError
from tests.models.catalog.origins import REPO, REVISION, LoopbackHub, loopback_hub

NAMES = ("config.json", "model.safetensors", "tokenizer.json")
TEXTS = ("Hi", "Who wrote Faust, and when?")
SETTINGS = SentenceSettings(repo=REPO, revision=REVISION, device="cpu")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub that serves the real model, and a pickle beside it."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    files = {name: (shipped_folder() / name).read_bytes() for name in NAMES}
    with loopback_hub({**files, "pytorch_model.bin": b"never fetched"}) as running:
        yield running


@pytest.fixture
def puller(hub: LoopbackHub, tmp_path: Path) -> Puller:
    return Puller(ModelStore(tmp_path / "models"), Access(hub_endpoint=hub.url), wait=True)


def test_a_model_of_the_hub_is_pulled_once_and_loaded_offline_from_then_on(
    hub: LoopbackHub, puller: Puller, minilm: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build_embedder(SETTINGS, puller=puller)
    assert made.id == minilm.id.replace("minilm-l6@", "tiny@")
    assert np.abs(made.embed(TEXTS).sentence - minilm.embed(TEXTS).sentence).max() < 1e-6
    assert {path.name for path in (tmp_path / "models" / REPO / REVISION).glob("[!.]*")} == set(NAMES)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert build_embedder(SETTINGS, puller=puller).id == made.id
    assert hub.requests == []


def test_two_that_start_at_once_pull_once(hub: LoopbackHub, puller: Puller) -> None:
    start = threading.Barrier(2)

    def build() -> str:
        start.wait(30)
        return build_embedder(SETTINGS, puller=puller).id

    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(build) for _ in range(2))
        assert first.result() == second.result()
    assert {name: len(hub.downloads(name)) for name in NAMES} == dict.fromkeys(NAMES, 1)


def test_a_file_that_went_missing_is_pulled_again(hub: LoopbackHub, puller: Puller, tmp_path: Path) -> None:
    made = build_embedder(SETTINGS, puller=puller)
    (tmp_path / "models" / REPO / REVISION / "tokenizer.json").unlink()
    assert build_embedder(SETTINGS, puller=puller).id == made.id
    assert {name: len(hub.downloads(name)) for name in NAMES} == {**dict.fromkeys(NAMES, 1), "tokenizer.json": 2}


def test_a_model_without_its_tokenizer_is_refused_by_name(hub: LoopbackHub, puller: Puller) -> None:
    hub.files = {name: body for name, body in hub.files.items() if name != "tokenizer.json"}
    with pytest.raises(ConfigurationError, match=r"has no tokenizer\.json that can be read"):
        build_embedder(SETTINGS, puller=puller)


def test_what_the_hub_does_not_have_is_named(puller: Puller) -> None:
    with pytest.raises(ConfigurationError, match="The hub shows no 'maker/other'"):
        build_embedder(SentenceSettings(repo="maker/other", revision=REVISION), puller=puller)


def test_without_a_place_for_pulled_models_the_setting_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no model can be pulled here"):
        build_embedder(SETTINGS)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"repo": REPO}, "needs both `repo` and `revision`"),
        ({"revision": REVISION}, "needs both `repo` and `revision`"),
        ({"repo": REPO, "revision": "main"}, "revision"),
        ({"repo": "../tiny", "revision": REVISION}, r"may not hold '\.\.'"),
        ({"repo": REPO, "revision": REVISION, "path": "/srv/model"}, "not both"),
    ],
)
def test_a_place_that_is_half_named_or_named_twice_is_refused(values: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        SentenceSettings.model_validate(values)

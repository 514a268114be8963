"""What counts as a model on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.catalog import ModelCard, ModelStore, resolve
from models.catalog.pull import Puller
from models.catalog.sources import Access
from models.catalog.store import MARKER, is_whole
from models.errors import ConfigurationError
from tests.models.catalog.conftest import MakeCard, unseen
from tests.models.catalog.origins import WANTED_FILES, safetensors


@pytest.fixture
def sealed(tmp_path: Path, make_card: MakeCard) -> tuple[ModelStore, ModelCard]:
    """A store with one complete pulled model."""
    store, card = ModelStore(tmp_path / "models"), make_card()
    folder = store.folder(card)
    folder.mkdir(parents=True)
    for name, body in WANTED_FILES.items():
        (folder / name).write_bytes(body)
    store.seal(card, list(WANTED_FILES))
    return store, card


def test_a_sealed_folder_resolves(sealed: tuple[ModelStore, ModelCard]) -> None:
    store, card = sealed
    assert store.resolve(card) == store.find(card) == store.folder(card)


def test_a_model_that_was_not_pulled_says_how_to_get_it(tmp_path: Path, make_card: MakeCard) -> None:
    with pytest.raises(ConfigurationError, match="Run `penstock models pull tiny`") as caught:
        resolve(make_card(), tmp_path)
    assert str(tmp_path) not in caught.value.public


def test_without_its_marker_a_full_folder_is_no_model(sealed: tuple[ModelStore, ModelCard]) -> None:
    store, card = sealed
    (store.folder(card) / MARKER).unlink()
    assert store.find(card) is None


@pytest.mark.parametrize("marker", ["", "[]", "{}", '{"files": {}, "source": {}}', '{"files": 3}'])
def test_a_torn_marker_seals_nothing(sealed: tuple[ModelStore, ModelCard], marker: str) -> None:
    store, card = sealed
    (store.folder(card) / MARKER).write_text(marker)
    assert store.find(card) is None


def test_a_file_that_changed_its_size_breaks_the_seal(sealed: tuple[ModelStore, ModelCard]) -> None:
    store, card = sealed
    (store.folder(card) / "tokenizer.json").write_text("{ }")
    assert store.find(card) is None


def test_another_revision_is_another_folder(sealed: tuple[ModelStore, ModelCard], make_card: MakeCard) -> None:
    store, card = sealed
    newer = make_card(source={"kind": "hub", "repo": "maker/tiny", "revision": "f" * 40})
    assert store.folder(newer) != store.folder(card)
    assert store.find(newer) is None


def local(make_card: MakeCard, path: str) -> ModelCard:
    return make_card(source={"kind": "local", "path": path})


def test_a_relative_local_path_starts_at_the_package(model_folder: Path, make_card: MakeCard) -> None:
    store = ModelStore(None, package=model_folder.parent)
    assert store.resolve(local(make_card, "model")) == model_folder


def test_pulling_a_local_model_checks_its_files(model_folder: Path, make_card: MakeCard) -> None:
    card, puller = local(make_card, str(model_folder)), Puller(ModelStore(None), Access())
    assert puller.pull(card, unseen) == model_folder
    (model_folder / "config.json").write_text("no json")
    with pytest.raises(ConfigurationError, match=r"config\.json is missing or not JSON"):
        puller.pull(card, unseen)


def test_a_local_model_without_safetensors_is_refused(model_folder: Path, make_card: MakeCard) -> None:
    for path in model_folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ConfigurationError, match="no safetensors file"):
        resolve(local(make_card, str(model_folder)))


WHOLE = safetensors(b"12345678")
HEADER = json.dumps({"w": {"data_offsets": [0]}}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        WHOLE[:-1],
        WHOLE + b"x",
        b"\x80\x04pickle me not",
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        len(HEADER).to_bytes(8, "little") + HEADER,
    ],
)
def test_a_file_that_is_no_whole_safetensors_is_seen(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    assert not is_whole(path)
    path.write_bytes(WHOLE)
    assert is_whole(path)

"""The real object store client against a real S3-speaking server on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.catalog.pull import Puller
from models.catalog.schema import ModelCard
from models.catalog.sources import Access, wanted
from models.catalog.sources.s3 import folder_digest
from models.catalog.store import ModelStore
from models.errors import ConfigurationError
from tests.models.catalog.conftest import MakeCard, unseen
from tests.models.catalog.origins import S3_FOLDER, S3_KEYS, WANTED_FILES, s3_server

WEIGHTS = "model-00001-of-00002.safetensors"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the module."""
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def puller(store: ModelStore, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Puller:
    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    return Puller(store, Access(s3_endpoint=endpoint))


@pytest.fixture
def card(make_card: MakeCard, model_folder: Path) -> ModelCard:
    digest = folder_digest(model_folder, list(WANTED_FILES))
    return make_card(source={"kind": "s3", "url": S3_FOLDER, "digest": digest})


def test_a_pull_brings_the_folder_and_checks_its_digest(store: ModelStore, puller: Puller, card: ModelCard) -> None:
    folder = puller.pull(card, unseen)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")} == WANTED_FILES
    assert store.resolve(card) == folder


def test_a_cut_pull_resumes_inside_a_file(store: ModelStore, puller: Puller, card: ModelCard) -> None:
    part = store.folder(card) / f"{WEIGHTS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(WANTED_FILES[WEIGHTS][:400_000])
    fetched: list[int] = []
    folder = puller.pull(card, lambda _: fetched.append)
    assert (folder / WEIGHTS).read_bytes() == WANTED_FILES[WEIGHTS]
    assert sum(fetched) == sum(map(len, WANTED_FILES.values())) - 400_000


def test_wrong_bytes_are_refused_and_not_kept(store: ModelStore, puller: Puller, card: ModelCard) -> None:
    part = store.folder(card) / f"{WEIGHTS}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * 1000)
    with pytest.raises(ConfigurationError, match="does not have the digest"):
        puller.pull(card, unseen)
    assert store.find(card) is None
    assert puller.pull(card, unseen).is_dir()


def test_the_digest_is_what_sha256sum_gives(model_folder: Path) -> None:
    script = 'sha256sum $(ls | LC_ALL=C sort) | sha256sum | cut -d" " -f1'
    printed = subprocess.run(["sh", "-c", script], cwd=model_folder, capture_output=True, text=True, check=True)
    assert folder_digest(model_folder, list(WANTED_FILES)) == f"sha256:{printed.stdout.strip()}"


def test_an_empty_prefix_is_named(puller: Puller, make_card: MakeCard) -> None:
    card = make_card(source={"kind": "s3", "url": "s3://weights/nobody", "digest": f"sha256:{'0' * 64}"})
    with pytest.raises(ConfigurationError, match="holds no file"):
        puller.pull(card, unseen)


def test_a_missing_bucket_is_named_without_its_internals(puller: Puller, make_card: MakeCard) -> None:
    card = make_card(source={"kind": "s3", "url": "s3://nowhere/tiny", "digest": f"sha256:{'0' * 64}"})
    with pytest.raises(ConfigurationError, match="did not deliver") as caught:
        puller.pull(card, unseen)
    assert "http" not in caught.value.public


def test_a_client_that_is_not_installed_is_named(
    puller: Puller, card: ModelCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "models.catalog.sources.s3")
    with pytest.raises(ConfigurationError, match="needs the package 'obstore'"):
        puller.pull(card, unseen)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "chat_template.jinja", "merges.txt"])
def test_weights_and_words_are_wanted(name: str) -> None:
    assert wanted(name)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "modeling.py", "model.gguf", "../config.json", "/etc/x.json", "a/../../b.json"]
)
def test_code_and_ways_out_are_not_wanted(name: str) -> None:
    assert not wanted(name)

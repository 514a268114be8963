"""What may be published: flat files of data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.artifacts.artifact import MOST_FILES, Artifact, digest_of
from models.artifacts.contents import contents
from models.artifacts.folder import FolderSettings
from models.artifacts.store import ArtifactStore, open_artifacts
from models.errors import ConfigurationError
from tests.models.artifacts.made import FILES, made, published
from tests.models.catalog.origins import safetensors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "made")


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return open_artifacts(FolderSettings(), home=tmp_path / "store")


def link_to_a_file(folder: Path) -> None:
    (folder / "more.json").symlink_to(folder / "manifest.json")


def link_to_a_folder(folder: Path) -> None:
    (folder / "more.json").symlink_to(folder)


def folder_inside(folder: Path) -> None:
    (folder / "more.json").mkdir()


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "more.json")


@pytest.mark.parametrize("add", [link_to_a_file, link_to_a_folder, folder_inside, pipe])
def test_only_plain_files_are_published(store: ArtifactStore, folder: Path, add: Callable[[Path], None]) -> None:
    add(folder)
    with pytest.raises(ConfigurationError, match=r"more\.json' is a link, a folder or a device"):
        published(store, folder)
    assert store.names("router") == []


@pytest.mark.parametrize(
    "name", ["model.pkl", "pytorch_model.bin", "model.pt", "a.py", "a.json.sh", "noending", "model.safetensors.123"]
)
def test_what_could_run_or_was_left_behind_is_refused_by_name(store: ArtifactStore, folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ConfigurationError, match=f"{name}' cannot be published"):
        published(store, folder)


@pytest.mark.parametrize("body", [b"cos\nsystem\n(S'false'\ntR.", b"", safetensors(b"x" * 100)[:-1]])
def test_a_pickle_or_a_half_file_by_the_name_of_safetensors_is_refused(
    store: ArtifactStore, folder: Path, body: bytes
) -> None:
    (folder / "weights.safetensors").write_bytes(body)
    with pytest.raises(ConfigurationError, match="is not a whole safetensors file"):
        published(store, folder)


@pytest.mark.parametrize("name", [".hidden.json", "-x.json", "a b.json", "a\n.json", "é.json", "x" * 124 + ".json"])
def test_a_file_name_that_other_machines_may_not_like_is_refused(store: ArtifactStore, folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"{}")
    with pytest.raises(ConfigurationError, match=r"This cannot be published\. files"):
        published(store, folder)


def test_no_folder_an_empty_one_and_too_many_files_are_refused(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file or directory"):
        published(store, tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"This cannot be published\. files"):
        published(store, tmp_path / "empty")
    for number in range(MOST_FILES + 1):
        (tmp_path / "empty" / f"{number}.txt").write_text("")
    with pytest.raises(ConfigurationError, match=r"This cannot be published\. files"):
        published(store, tmp_path / "empty")


def test_what_is_said_of_a_version_has_bounds(store: ArtifactStore, folder: Path) -> None:
    for about in ({"small": "x" * 501}, {str(number): "" for number in range(33)}):
        with pytest.raises(ConfigurationError, match=r"This cannot be published\. about"):
            store.publish(folder, kind="router", name="default", about=about)


def test_an_artifact_whose_digest_is_not_that_of_its_files_cannot_be(folder: Path) -> None:
    files = contents(folder, max_bytes=2**30)
    rest = {"kind": "router", "name": "a", "published_at": 1.0, "files": files, "about": {}}
    good = Artifact(digest=digest_of(files), **rest)  # type: ignore[arg-type]
    assert (good.size, str(good)) == (sum(map(len, FILES.values())), f"router 'a', version {good.digest[:12]}")
    with pytest.raises(ValueError, match="is not that of the files"):
        Artifact(digest="0" * 64, **rest)  # type: ignore[arg-type]

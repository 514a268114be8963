"""What a publisher and a reader expect of every kind of artifact store in the table, on the real thing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from pydantic import TypeAdapter, ValidationError

from models.artifacts import ARTIFACT_STORES, ArtifactSettings, ArtifactStoreSettings, Shelf
from models.artifacts.store import ArtifactStore, open_artifacts
from models.errors import ConfigurationError
from tests.models.artifacts.made import FILES, files_in, made, published
from tests.models.catalog.origins import S3_KEYS, s3_server
from tests.serving.conftest import ManualClock


@pytest.fixture
def folder_values() -> dict[str, Any]:
    return {}


@pytest.fixture(scope="module")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address:
        yield address


@pytest.fixture
def s3_values(s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    return {"bucket": "weights", "prefix": f"tests/{tmp_path.name}", "endpoint": s3_address}


@pytest.fixture(params=ARTIFACT_STORES.kinds)
def settings(request: pytest.FixtureRequest) -> ArtifactStoreSettings:
    """Each kind brings a fixture with its values, by name: a kind without one fails here."""
    values = {"kind": request.param, **request.getfixturevalue(f"{request.param}_values")}
    read: ArtifactStoreSettings = TypeAdapter(ArtifactSettings).validate_python(values)
    return read


@pytest.fixture
def module(settings: ArtifactStoreSettings) -> ModuleType:
    return ARTIFACT_STORES.module(settings.kind)


@pytest.fixture
def shelf(module: ModuleType, settings: ArtifactStoreSettings, tmp_path: Path) -> Shelf:
    return cast(Shelf, module.build(settings, tmp_path / "home"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(settings: ArtifactStoreSettings, tmp_path: Path, clock: ManualClock) -> ArtifactStore:
    return open_artifacts(settings, home=tmp_path / "home", clock=clock)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "made")


def read(shelf: Shelf, key: str) -> bytes:
    return b"".join(shelf.read(key))


def test_every_setting_has_a_reason(module: ModuleType) -> None:
    assert [name for name, field in module.Settings.model_fields.items() if not field.description] == []


def test_an_unknown_setting_is_refused(settings: ArtifactStoreSettings) -> None:
    with pytest.raises(ValidationError, match="colour"):
        TypeAdapter(ArtifactSettings).validate_python({**settings.model_dump(), "colour": 1})


def test_a_shelf_gives_back_what_was_written_and_lists_what_lies_directly_under_a_folder(shelf: Shelf) -> None:
    for key in ("a/b/one.json", "a/b/two/three.json", "a/other.json"):
        assert shelf.write(key, [key.encode(), b"!" * 3_000_000], replace=True)
    assert read(shelf, "a/b/one.json") == b"a/b/one.json" + b"!" * 3_000_000
    assert sorted(shelf.entries("a/b")) == ["one.json", "two"]
    assert sorted(shelf.entries("a")) == ["b", "other.json"]


def test_a_shelf_has_no_entries_and_no_file_where_nothing_was_written(shelf: Shelf) -> None:
    shelf.write("a/b.json", [b""], replace=True)
    assert shelf.entries("a/c") == shelf.entries("elsewhere") == []
    assert read(shelf, "a/b.json") == b""
    with pytest.raises(FileNotFoundError):
        read(shelf, "a/c.json")


def test_a_shelf_replaces_only_when_it_is_told_to(shelf: Shelf) -> None:
    assert shelf.write("a/b.json", [b"first"], replace=False)
    assert not shelf.write("a/b.json", [b"second"], replace=False)
    assert read(shelf, "a/b.json") == b"first"
    assert shelf.write("a/b.json", [b"third"], replace=True)
    assert read(shelf, "a/b.json") == b"third"


@pytest.mark.parametrize("size", [10, 12_000_000])
def test_a_write_that_fails_halfway_leaves_what_was_there(shelf: Shelf, size: int) -> None:
    def half() -> Iterator[bytes]:
        yield b"x" * size
        raise ConfigurationError("the source is gone")

    shelf.write("a/old.json", [b"whole"], replace=True)
    for key in ("a/old.json", "a/new.json"):
        with pytest.raises(ConfigurationError, match="the source is gone"):
            shelf.write(key, half(), replace=True)
    assert shelf.entries("a") == ["old.json"]
    assert read(shelf, "a/old.json") == b"whole"


def test_of_many_writers_that_do_not_replace_exactly_one_wins(shelf: Shelf) -> None:
    start = threading.Barrier(6)

    def write(number: int) -> bool:
        start.wait(30)
        return shelf.write("a/b.json", [str(number).encode()], replace=False)

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(write, range(6)))
    assert won.count(True) == 1
    assert read(shelf, "a/b.json") == str(won.index(True)).encode()


def test_a_published_folder_is_found_and_fetched_as_it_was(
    store: ArtifactStore, folder: Path, clock: ManualClock, tmp_path: Path
) -> None:
    artifact = published(store, folder)
    assert (artifact.published_at, artifact.about) == (clock.at, {"small": "7b", "large": "70b"})
    assert store.find("router", "default", version=artifact.version[:4]) == artifact
    assert files_in(store.fetch(artifact, to=tmp_path / "fetched")) == FILES


def test_the_same_files_are_the_same_version_and_stay_as_they_were_first_published(
    store: ArtifactStore, folder: Path, clock: ManualClock, tmp_path: Path
) -> None:
    first = published(store, folder)
    clock.at += 60
    assert published(store, store.fetch(first, to=tmp_path / "fetched")) == first
    assert store.versions("router", "default") == [first]


def test_versions_come_newest_first_and_each_name_has_its_own(
    store: ArtifactStore, folder: Path, clock: ManualClock, tmp_path: Path
) -> None:
    first = published(store, folder)
    clock.at += 60
    second = published(store, made(tmp_path / "made", manifest_json=b"{}"))
    other = published(store, folder, name="other")
    assert first.version != second.version == other.version
    assert store.versions("router", "default") == [second, first]
    assert store.versions("router", "other") == [other]
    assert store.names("router") == ["default", "other"]
    assert store.names("adapter") == store.versions("adapter", "default") == store.versions("router", "third") == []


def test_two_that_publish_the_same_at_once_get_the_same_version(store: ArtifactStore, folder: Path) -> None:
    start = threading.Barrier(4)

    def publish(number: int) -> Any:
        start.wait(30)
        return store.publish(folder, kind="router", name="default", about={"who": str(number)})

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(publish, range(4)))
    assert found == [found[0]] * 4
    assert store.versions("router", "default") == [found[0]]


def test_files_without_their_index_are_no_version_until_they_are_published(
    store: ArtifactStore, shelf: Shelf, folder: Path, tmp_path: Path
) -> None:
    artifact = published(open_artifacts(ARTIFACT_STORES.module("folder").Settings(), home=tmp_path / "twin"), folder)
    for name, body in FILES.items():
        shelf.write(f"router/default/{artifact.version}/{name}", [body[:-1]], replace=True)
    assert store.versions("router", "default") == store.names("router") == []
    assert files_in(store.fetch(published(store, folder), to=tmp_path / "fetched")) == FILES


def test_a_damaged_file_is_never_handed_out_and_is_mended_by_publishing_again(
    store: ArtifactStore, shelf: Shelf, folder: Path, tmp_path: Path
) -> None:
    artifact = published(store, folder)
    key = f"router/default/{artifact.version}/weights.safetensors"
    for wrong in (FILES["weights.safetensors"][:-1], FILES["weights.safetensors"] + b"!", b"?" * 5_000_000):
        shelf.write(key, [wrong], replace=True)
        with pytest.raises(ConfigurationError, match=r"'weights\.safetensors' is damaged in the store"):
            store.fetch(artifact, to=tmp_path / "fetched")
        assert [path for path in (tmp_path / "fetched").rglob("*") if path.is_file() and path.stat().st_size] == []
    assert published(store, folder) == artifact
    assert files_in(store.fetch(artifact, to=tmp_path / "fetched")) == FILES


@pytest.mark.parametrize(
    "change", [b"", b"{}", b'{"kind": "router"}', b"\xff", {"name": "other"}, {"digest": "0" * 64}]
)
def test_an_index_that_does_not_fit_its_version_is_refused_and_mended_by_publishing_again(
    store: ArtifactStore, shelf: Shelf, folder: Path, change: Any
) -> None:
    artifact = published(store, folder)
    values = {**artifact.model_dump(mode="json"), **(change if isinstance(change, dict) else {})}
    wrong = json.dumps(values).encode() if isinstance(change, dict) else change
    shelf.write(f"router/default/{artifact.version}.json", [wrong], replace=True)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        store.versions("router", "default")
    assert published(store, folder) == artifact
    assert store.versions("router", "default") == [artifact]


def test_an_index_cannot_name_a_file_outside_its_version(store: ArtifactStore, shelf: Shelf, folder: Path) -> None:
    artifact = published(store, folder)
    index = artifact.model_dump_json().replace("README.md", "../README.md")
    shelf.write(f"router/default/{artifact.version}.json", [index.encode()], replace=True)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        store.find("router", "default", version=artifact.version)


@pytest.mark.parametrize("name", ["", "..", "a..b", "Upper", "a/b", "-a", ".a", "a" * 64, "ä", "a\n"])
def test_a_name_that_could_be_a_way_out_is_refused_everywhere(store: ArtifactStore, folder: Path, name: str) -> None:
    for call in (
        lambda: published(store, folder, name=name),
        lambda: store.versions("router", name),
        lambda: store.find("router", name, version="0"),
    ):
        with pytest.raises(ConfigurationError, match="cannot be the name"):
            call()
    assert published(store, folder, name="a" * 63).name == "a" * 63


def test_a_shelf_removes_a_file_once_and_a_folder_with_its_last_file(shelf: Shelf) -> None:
    for key in ("a/b/one.json", "a/b/two.json", "a/c.json"):
        shelf.write(key, [b"x"], replace=True)
    shelf.remove("a/b/one.json")
    assert shelf.entries("a/b") == ["two.json"]
    for key in ("a/b/two.json", "a/b/two.json", "a/c.json/d.json", "z/z.json"):
        shelf.remove(key)
    assert (shelf.entries("a"), read(shelf, "a/c.json")) == (["c.json"], b"x")


def test_a_shelf_tells_every_file_below_a_folder_and_when_it_was_written(shelf: Shelf) -> None:
    started = time.time()
    for key in ("a/b/one.json", "a/b/two/three.json", "a/other.json", "ab/c.json"):
        shelf.write(key, [b"x"], replace=True)
    assert sorted(shelf.files("a")) == ["a/b/one.json", "a/b/two/three.json", "a/other.json"]
    assert all(started - 2 < written < time.time() + 2 for written in shelf.files("a").values())
    assert shelf.files("elsewhere") == shelf.files("a/other.json/b") == {}


def test_a_removed_version_is_gone_with_its_files_and_the_others_stay(
    store: ArtifactStore, shelf: Shelf, folder: Path, tmp_path: Path
) -> None:
    first = published(store, folder)
    second = published(store, made(tmp_path / "made", manifest_json=b"{}"))
    for _ in range(2):
        store.remove(first)
    assert store.versions("router", "default") == [second]
    assert {key.split("/")[2].removesuffix(".json") for key in shelf.files("router")} == {second.version}
    assert files_in(store.fetch(second, to=tmp_path / "fetched"))["manifest.json"] == b"{}"
    assert files_in(store.fetch(published(store, made(tmp_path / "made")), to=tmp_path / "fetched")) == FILES


def test_the_index_of_a_version_goes_before_its_files(store: ArtifactStore, shelf: Shelf, folder: Path) -> None:
    gone: list[str] = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(shelf, name)

        def remove(self, key: str) -> None:
            gone.append(key)
            shelf.remove(key)

    watched = ArtifactStore(cast(Shelf, Watched()), max_bytes=2**30, clock=ManualClock())
    artifact = published(store, folder)
    watched.remove(artifact)
    again = published(store, folder)
    watched.sweep("router", (), older_than_s=-(2**31))
    assert gone[0] == gone[len(FILES) + 1] == f"router/default/{artifact.version}.json"
    assert (len(gone), again.version) == (2 * len(FILES) + 2, artifact.version)


def test_a_sweep_removes_what_nobody_keeps_and_what_a_crash_left(
    store: ArtifactStore, shelf: Shelf, folder: Path, clock: ManualClock, tmp_path: Path
) -> None:
    kept, other = published(store, folder), published(store, folder, name="other")
    row_lost = published(store, made(tmp_path / "made", manifest_json=b"{}"))
    for key in ("0123456789ab/adapter_model.safetensors", "ffffffffffff.json", "notes.txt"):
        shelf.write(f"router/default/{key}", [b"x"], replace=True)
    clock.at = time.time() + 3600
    keep = {("default", kept.version), ("other", other.version)}
    assert store.sweep("router", keep, older_than_s=3700) == store.sweep("adapter", (), older_than_s=0) == []
    gone = store.sweep("router", keep, older_than_s=3000)
    assert gone == [("default", version) for version in sorted(("0123456789ab", row_lost.version, "ffffffffffff"))]
    assert store.versions("router", "default") + store.versions("router", "other") == [kept, other]
    assert sorted(shelf.entries("router/default")) == sorted([kept.version, f"{kept.version}.json", "notes.txt"])
    assert files_in(store.fetch(kept, to=tmp_path / "fetched")) == FILES


def test_a_sweep_spares_a_version_of_which_a_file_was_written_lately(
    store: ArtifactStore, shelf: Shelf, clock: ManualClock
) -> None:
    shelf.write("router/default/0123456789ab/old.json", [b"x"], replace=True)
    time.sleep(2.1)
    shelf.write("router/default/0123456789ab/new.json", [b"x"], replace=True)
    clock.at = max(shelf.files("router").values()) + 1
    assert store.sweep("router", (), older_than_s=2) == []
    assert len(shelf.files("router")) == 2
    clock.at += 2
    assert store.sweep("router", (), older_than_s=2) == [("default", "0123456789ab")]
    assert shelf.files("router") == {}

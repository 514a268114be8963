"""Finding, fetching, keeping: the same for every kind of shelf, so tried on the folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.artifacts.folder import FolderSettings, FolderShelf
from models.artifacts.store import ArtifactStore, open_artifacts
from models.errors import ConfigurationError
from tests.models.artifacts.made import FILES, files_in, made, published
from tests.serving.conftest import ManualClock


class CountingShelf(FolderShelf):
    """A folder that counts what is read of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[str] = []

    def read(self, key: str) -> Iterator[bytes]:
        self.reads.append(key.rsplit("/", 1)[-1])
        yield from super().read(key)


@pytest.fixture
def shelf(tmp_path: Path) -> CountingShelf:
    return CountingShelf(tmp_path / "store")


@pytest.fixture
def store(shelf: CountingShelf) -> ArtifactStore:
    return ArtifactStore(shelf, max_bytes=2**30, clock=ManualClock())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made(tmp_path / "made")


def test_a_version_is_the_digest_of_names_and_contents(store: ArtifactStore, folder: Path) -> None:
    script = "sha256sum $(ls | LC_ALL=C sort) | sha256sum | cut -c1-12"
    printed = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert published(store, folder).version == printed.stdout.strip()


def test_another_name_of_a_file_is_another_version(store: ArtifactStore, folder: Path) -> None:
    before = published(store, folder)
    (folder / "README.md").rename(folder / "LIESMICH.md")
    assert published(store, folder).version != before.version


def test_a_version_is_found_by_its_first_digits_and_by_its_whole_digest(store: ArtifactStore, folder: Path) -> None:
    artifact = published(store, folder)
    for digits in (1, 12, 30, 64):
        assert store.find("router", "default", version=artifact.digest[:digits]) == artifact
    with pytest.raises(ConfigurationError, match="No version of router 'default' begins with"):
        store.find("router", "default", version=artifact.version + "0" * 52)


def test_digits_that_fit_nothing_or_several_are_refused_with_what_there_is(
    store: ArtifactStore, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="Nothing is published as router 'default'"):
        store.find("router", "default", version="0")
    found = [published(store, made(tmp_path / "made", manifest_json=str(n).encode())) for n in range(17)]
    twins = [a.version for a in found if sum(b.version[0] == a.version[0] for b in found) > 1]
    with pytest.raises(ConfigurationError, match=f"could be .*{sorted(twins)[0]}.* Give more digits"):
        store.find("router", "default", version=sorted(twins)[0][0])
    for digits in ("", "xyz", "../"):
        with pytest.raises(ConfigurationError, match=r"The newest: [0-9a-f]{12}, "):
            store.find("router", "default", version=digits)


def test_a_second_fetch_asks_the_store_for_nothing(
    store: ArtifactStore, shelf: CountingShelf, folder: Path, tmp_path: Path
) -> None:
    artifact = published(store, folder)
    shelf.reads.clear()
    first = store.fetch(artifact, to=tmp_path / "fetched")
    assert sorted(shelf.reads) == sorted(FILES)
    assert store.fetch(artifact, to=tmp_path / "fetched") == first
    assert len(shelf.reads) == len(FILES)


def damage_by_a_byte(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(FILES["weights.safetensors"][:-1] + b"?")


def damage_by_half(folder: Path) -> None:
    os.truncate(folder / "weights.safetensors", 1000)


def damage_by_loss(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def damage_by_one_too_many(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"")


def damage_by_a_link(folder: Path) -> None:
    (folder / "manifest.json").rename(folder.parent / "elsewhere.json")
    (folder / "manifest.json").symlink_to(folder.parent / "elsewhere.json")


@pytest.mark.parametrize(
    "damage", [damage_by_a_byte, damage_by_half, damage_by_loss, damage_by_one_too_many, damage_by_a_link]
)
def test_a_fetched_folder_that_was_damaged_is_fetched_anew(
    store: ArtifactStore, folder: Path, tmp_path: Path, damage: object
) -> None:
    artifact = published(store, folder)
    fetched = store.fetch(artifact, to=tmp_path / "fetched")
    assert callable(damage)
    damage(fetched)
    assert store.fetch(artifact, to=tmp_path / "fetched") == fetched
    assert files_in(fetched) == FILES


FETCH = """
import sys, time
from pathlib import Path
from models.artifacts.folder import FolderShelf
from models.artifacts.store import ArtifactStore
from models.clock import SystemClock

class Stalling(FolderShelf):
    def read(self, key):
        for block in super().read(key):
            yield block
            if key.endswith(".safetensors"):
                print("half", flush=True)
                time.sleep(60)

store = ArtifactStore(Stalling(Path(sys.argv[1])), max_bytes=2**30, clock=SystemClock())
store.fetch(store.versions("router", "default")[0], to=Path(sys.argv[2]))
"""


def test_a_fetch_that_was_killed_leaves_nothing_that_is_used(
    store: ArtifactStore, folder: Path, tmp_path: Path
) -> None:
    artifact, to = published(store, folder), tmp_path / "fetched"
    command = [sys.executable, "-c", FETCH, str(tmp_path / "store"), str(to)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert list(to.rglob(".*.part"))
    assert not (to / "router" / "default" / artifact.version).exists()
    assert files_in(store.fetch(artifact, to=to)) == FILES
    assert list(to.rglob(".*.part")) == []


def test_many_that_fetch_at_once_fetch_once(
    store: ArtifactStore, shelf: CountingShelf, folder: Path, tmp_path: Path
) -> None:
    artifact = published(store, folder)
    shelf.reads.clear()
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: store.fetch(artifact, to=tmp_path / "fetched"), range(6)))
    assert len(set(found)) == 1
    assert sorted(shelf.reads) == sorted(FILES)


def test_what_is_larger_than_the_limit_is_neither_published_nor_fetched(
    store: ArtifactStore, shelf: CountingShelf, folder: Path, tmp_path: Path
) -> None:
    size = sum(map(len, FILES.values()))
    artifact = published(store, folder)
    small = ArtifactStore(shelf, max_bytes=size - 1, clock=ManualClock())
    with pytest.raises(ConfigurationError, match=f"holds {size:,} bytes. `artifacts.max_bytes` admits"):
        published(small, folder)
    with pytest.raises(ConfigurationError, match="are more than"):
        small.fetch(artifact, to=tmp_path / "fetched")
    assert files_in(ArtifactStore(shelf, max_bytes=size, clock=ManualClock()).fetch(artifact, to=tmp_path)) == FILES


class ChangingShelf(FolderShelf):
    """Something else is in the file by the time that it is read again."""

    def __init__(self, root: Path, change: Path) -> None:
        super().__init__(root)
        self._change = change

    def write(self, key: str, blocks: Iterable[bytes], *, replace: bool) -> bool:
        self._change.unlink(missing_ok=True)
        return super().write(key, blocks, replace=replace)


def test_a_folder_that_changes_while_it_is_published_is_no_version(folder: Path, tmp_path: Path) -> None:
    shelf = ChangingShelf(tmp_path / "store", folder / "weights.safetensors")
    store = ArtifactStore(shelf, max_bytes=2**30, clock=ManualClock())
    with pytest.raises(ConfigurationError, match=r"weights\.safetensors' changed while it was published"):
        published(store, folder)
    assert store.versions("router", "default") == []


def test_a_store_or_a_cache_that_cannot_be_made_is_named(store: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    artifact = published(store, folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be kept in"):
        store.fetch(artifact, to=tmp_path / "file")
    with pytest.raises(ConfigurationError, match=r"cannot be used: .* `artifacts\.path` names another"):
        published(open_artifacts(FolderSettings(path=tmp_path / "file"), home=tmp_path), folder)


def test_a_path_that_depends_on_where_a_process_works_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'artifacts' is not an absolute path"):
        FolderSettings(path=Path("artifacts"))
    assert FolderSettings(path=tmp_path).path == tmp_path


def test_what_is_published_and_fetched_is_for_its_owner_alone(folder: Path, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = open_artifacts(FolderSettings(), home=tmp_path / "state" / "artifacts")
        store.fetch(published(store, folder), to=tmp_path / "state" / "fetched")
    finally:
        os.umask(before)
    made = [tmp_path / "state", *(tmp_path / "state").rglob("*")]
    assert {path.name for path in made} > {*FILES, "router", "default", "artifacts", "fetched"}
    assert [path for path in made if path.stat().st_mode & 0o077 and path.suffix != ".lock"] == []


def test_without_a_path_the_versions_lie_in_the_home_that_is_given(folder: Path, tmp_path: Path) -> None:
    artifact = published(open_artifacts(FolderSettings(), home=tmp_path / "home"), folder)
    published(open_artifacts(FolderSettings(path=tmp_path / "mine"), home=tmp_path / "other"), folder)
    for place in ("home", "mine"):
        assert files_in(tmp_path / place / "router" / "default" / artifact.version) == FILES
    assert not (tmp_path / "other").exists()


def test_a_sweep_takes_the_drafts_of_killed_writers_also_from_a_version_that_is_kept(
    shelf: CountingShelf, folder: Path, tmp_path: Path
) -> None:
    clock = ManualClock()
    store = ArtifactStore(shelf, max_bytes=2**30, clock=clock)
    artifact = published(store, folder)
    drafts = [f".{artifact.version}.json.7.aa", f"{artifact.version}/.README.md.7.bb"]
    for draft in drafts:
        (tmp_path / "store" / "router" / "default" / draft).write_bytes(b"half")
    clock.at = time.time() + 10
    keep = {("default", artifact.version)}
    assert store.sweep("router", keep, older_than_s=3600) == []
    assert len(shelf.files("router")) == len(FILES) + 1 + len(drafts)
    assert store.sweep("router", keep, older_than_s=5) == []
    assert len(shelf.files("router")) == len(FILES) + 1
    assert files_in(store.fetch(artifact, to=tmp_path / "fetched")) == FILES


def test_files_are_written_and_removed_in_one_folder_at_once(shelf: CountingShelf) -> None:
    def turn(number: int) -> bool:
        key = f"a/b/{number}.json"
        written = shelf.write(key, [b"x"], replace=bool(number % 2))
        shelf.remove(key)
        return written

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(turn, range(400))) == [True] * 400
    assert shelf.files("") == {}
    assert shelf.entries("a") == []

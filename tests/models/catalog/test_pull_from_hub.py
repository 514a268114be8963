"""The real hub client against a loopback hub."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import constants
from pydantic import SecretStr

from models.catalog.pull import HEADROOM_BYTES, Puller
from models.catalog.sources import Access, Advance
from models.catalog.store import ModelStore
from models.errors import ConfigurationError
from tests.models.catalog.conftest import MakeCard
from tests.models.catalog.origins import REPO, REVISION, TOKEN, WANTED_FILES, LoopbackHub

WEIGHTS = "model-00001-of-00002.safetensors"


class Counter:
    """A progress that only counts."""

    def __init__(self) -> None:
        self.total = 0
        self.seen = 0

    def __call__(self, total: int) -> Advance:
        self.total = total
        return self._advance

    def _advance(self, count: int) -> None:
        self.seen += count


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def puller(store: ModelStore, hub: LoopbackHub, token: str | None = None) -> Puller:
    return Puller(store, Access(hub_endpoint=hub.url, hub_token=SecretStr(token) if token else None))


def test_a_pull_brings_the_wanted_files_of_the_pinned_commit(
    store: ModelStore, hub: LoopbackHub, make_card: MakeCard
) -> None:
    folder = puller(store, hub).pull(make_card(), Counter())
    assert {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")} == WANTED_FILES
    assert folder.name == REVISION
    assert store.resolve(make_card()) == folder


def test_progress_counts_every_byte_once(store: ModelStore, hub: LoopbackHub, make_card: MakeCard) -> None:
    counter = Counter()
    puller(store, hub).pull(make_card(), counter)
    assert counter.total == counter.seen == sum(map(len, WANTED_FILES.values()))


def test_a_second_pull_asks_the_hub_for_nothing(store: ModelStore, hub: LoopbackHub, make_card: MakeCard) -> None:
    puller(store, hub).pull(make_card(), Counter())
    hub.requests.clear()
    puller(store, hub).pull(make_card(), Counter())
    assert hub.requests == []


PULL = """
import sys
from pathlib import Path
from models.catalog import ModelCard, ModelStore
from models.catalog.pull import Puller
from models.catalog.sources import Access
folder, url, card = Path(sys.argv[1]), sys.argv[2], ModelCard.model_validate_json(sys.argv[3])
Puller(ModelStore(folder), Access(hub_endpoint=url)).pull(card, lambda total: lambda count: None)
"""


def kill_a_pull(hub: LoopbackHub, arguments: list[str], home: Path, *, folder: Path) -> int:
    """Start a pull in a process of its own and kill it while it waits for the rest of the last file."""
    environment = {"HF_HOME": str(home), "PYTHONPATH": str(Path.cwd())}
    hub.stall_after = 300_000
    with subprocess.Popen([sys.executable, "-c", PULL, *arguments], env=environment) as process:
        assert hub.stalled.wait(30)
        others = [folder / name for name in WANTED_FILES if name != WEIGHTS]
        while not (all(path.exists() for path in others) and len(unfinished(folder)) == 1):
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.05)
        process.kill()
    hub.stall_after = None
    return process.returncode


def unfinished(folder: Path) -> list[Path]:
    return list(folder.rglob("*.incomplete"))


def test_a_killed_pull_leaves_no_model_and_the_next_one_fetches_only_what_is_missing(
    store: ModelStore, hub: LoopbackHub, make_card: MakeCard, tmp_path: Path
) -> None:
    arguments = [str(tmp_path / "models"), hub.url, make_card().model_dump_json()]
    assert kill_a_pull(hub, arguments, tmp_path / "home", folder=store.folder(make_card())) == -signal.SIGKILL
    assert store.find(make_card()) is None
    assert len(unfinished(store.folder(make_card()))) == 1
    folder = puller(store, hub).pull(make_card(), Counter())
    assert (folder / WEIGHTS).read_bytes() == WANTED_FILES[WEIGHTS]
    assert {name: len(hub.downloads(name)) for name in WANTED_FILES} == {
        name: 2 if name == WEIGHTS else 1 for name in WANTED_FILES
    }
    assert unfinished(folder) == []


def test_two_pulls_of_one_model_do_not_run_at_once(store: ModelStore, hub: LoopbackHub, make_card: MakeCard) -> None:
    folder = store.folder(make_card())
    folder.mkdir(parents=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="being pulled by another process"):
            puller(store, hub).pull(make_card(), Counter())
    assert hub.requests == []
    assert puller(store, hub).pull(make_card(), Counter()) == folder


def test_a_gated_model_needs_the_token(store: ModelStore, hub: LoopbackHub, make_card: MakeCard) -> None:
    hub.gated = True
    with pytest.raises(ConfigurationError, match="is gated"):
        puller(store, hub).pull(make_card(), Counter())
    assert puller(store, hub, TOKEN).pull(make_card(), Counter()).is_dir()


@pytest.mark.parametrize(
    ("repo", "revision", "sentence"), [(REPO, "f" * 40, "has no commit"), ("maker/other", REVISION, "shows no")]
)
def test_what_the_hub_does_not_have_is_named(
    store: ModelStore, hub: LoopbackHub, make_card: MakeCard, repo: str, revision: str, sentence: str
) -> None:
    card = make_card(source={"kind": "hub", "repo": repo, "revision": revision})
    with pytest.raises(ConfigurationError, match=sentence):
        puller(store, hub).pull(card, Counter())


def test_a_full_disk_is_refused_before_the_first_byte(store: ModelStore, hub: LoopbackHub, make_card: MakeCard) -> None:
    small = Puller(store, Access(hub_endpoint=hub.url), free=lambda _: HEADROOM_BYTES)
    with pytest.raises(ConfigurationError, match=r"the disk has 1\.1 GB"):
        small.pull(make_card(), Counter())
    assert hub.downloads(WEIGHTS) == []


def test_an_offline_process_says_which_switch_to_turn(
    store: ModelStore, hub: LoopbackHub, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match="HF_HUB_OFFLINE is set"):
        puller(store, hub).pull(make_card(), Counter())

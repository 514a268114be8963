"""A replica's adapters from a real artifact store, before it is seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.adapters.names import AdapterRef, engine_name
from models.artifacts.folder import FolderSettings
from models.artifacts.store import open_artifacts
from models.errors import Unavailable
from serving.engines.adapter_files import NEEDED, StoredFiles
from serving.engines.adapter_start import AdapterPlan, filled_shelf
from serving.engines.fake_lora import FakeLora, made_ref

HEADER = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + b"x"  # a whole safetensors file, of one byte


@dataclass
class Live:
    """What is live, or that nobody can say."""

    refs: Sequence[AdapterRef] = ()
    down: bool = False

    async def read(self, card: str) -> Sequence[AdapterRef]:
        if self.down:
            raise Unavailable("The database is down.")
        return self.refs if card == "demo" else ()


def publish(home: Path, name: str) -> AdapterRef:
    folder = home / f"make-{name}"
    folder.mkdir()
    (folder / NEEDED[0]).write_text(json.dumps({"r": 8, "name": name}))
    (folder / NEEDED[1]).write_bytes(WEIGHTS)
    store = open_artifacts(FolderSettings(kind="folder"), home=home / "store")
    made = store.publish(folder, kind="adapter", name=f"adp-{name}", about={})
    return AdapterRef(engine_name(name, made.digest), made.name, made.digest)


def plan(home: Path, live: Live | None) -> AdapterPlan:
    return AdapterPlan(FolderSettings(kind="folder"), str(home / "store"), str(home / "cache"), live)


def stored(home: Path) -> StoredFiles:
    return StoredFiles(open_artifacts(FolderSettings(kind="folder"), home=home / "store"), home / "cache")


async def test_what_is_live_is_loaded_and_what_cannot_be_stops_nobody(tmp_path: Path) -> None:
    engine, refs = FakeLora(), [publish(tmp_path, name) for name in "ab"]
    engine.refuses[refs[1].engine_name] = "no"
    unknown = made_ref("never-published")
    shelf = await filled_shelf(plan(tmp_path, Live([*refs, unknown])), engine, card="demo")
    assert list(engine.names) == [refs[0].engine_name]
    assert {failure.ref for failure in shelf.failures} == {refs[1], unknown}


@pytest.mark.parametrize("live", [None, Live(down=True), Live()])
async def test_a_replica_starts_without_a_list_and_brings_what_it_is_asked_for(
    tmp_path: Path, live: Live | None
) -> None:
    ref = publish(tmp_path, "a")
    shelf = await filled_shelf(plan(tmp_path, live), FakeLora(), card="demo")
    assert shelf.versions == []
    async with shelf.hold(ref) as failed:
        assert failed is None


async def test_another_cards_adapters_are_left_alone(tmp_path: Path) -> None:
    engine = FakeLora()
    await filled_shelf(plan(tmp_path, Live([publish(tmp_path, "a")])), engine, card="other")
    assert engine.added == []


async def test_files_lie_where_they_lay_and_are_missed_when_one_goes(tmp_path: Path) -> None:
    files, ref = stored(tmp_path), publish(tmp_path, "a")
    folder = await files.fetch(ref)
    assert files.there(folder)
    (folder / NEEDED[1]).unlink()
    assert not files.there(folder)
    assert await files.fetch(ref) == folder
    assert files.there(folder)


async def test_files_that_lie_here_need_no_bytes_of_the_store(tmp_path: Path) -> None:
    files, ref = stored(tmp_path), publish(tmp_path, "a")
    folder = await files.fetch(ref)
    shutil.rmtree(tmp_path / "store" / "adapter" / ref.artifact / ref.digest[:12])
    assert await files.fetch(ref) == folder

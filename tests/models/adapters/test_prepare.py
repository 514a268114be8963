"""What is published of an adapter: the same bytes for the same adapter, and nothing that was not checked."""

from __future__ import annotations

import json
import math
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest

from models.adapters.check import check, prepare
from models.adapters.refusal import AdapterInvalid
from models.artifacts.folder import FolderSettings
from models.artifacts.store import open_artifacts
from tests.models.adapters.made import (
    BASE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    adapter,
    config,
    numbers,
    safetensors,
    tensor_name,
    tensors,
)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """An empty folder."""
    made = tmp_path / "into"
    made.mkdir()
    return made


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_weights_as_they_are_and_a_configuration_written_anew_are_all_that_is_published(
    tmp_path: Path, into: Path
) -> None:
    folder = adapter(tmp_path / "mine", files={"README.md": b"mine", "LICENSE": b"mine"})
    assert prepare(folder, BASE, into=into) == check(folder, BASE) == check(into, BASE)
    found = bytes_of(into)
    assert found.keys() == {CONFIG_FILE, WEIGHTS_FILE}
    assert found[WEIGHTS_FILE] == (folder / WEIGHTS_FILE).read_bytes()
    assert json.loads(found[CONFIG_FILE])["base_model_name_or_path"] == "tiny"


def test_whoever_prepares_the_same_adapter_gets_the_same_version(tmp_path: Path) -> None:
    store = open_artifacts(FolderSettings(), home=tmp_path / "store")
    ways = {
        "first": config(),
        "second": config(
            lora_dropout=0.5, peft_version="0.1", target_modules=["mlp.down_proj", "q_proj"], lora_alpha=8.0
        ),
        "third": dict(reversed(config(base_model_name_or_path="tiny", revision="a" * 40).items())),
    }
    versions = []
    for way, settings in ways.items():
        (tmp_path / f"into-{way}").mkdir()
        prepare(adapter(tmp_path / way, settings=settings), BASE, into=tmp_path / f"into-{way}")
        versions.append(store.publish(tmp_path / f"into-{way}", kind="adapter", name="ours", about={}))
    assert [version.digest for version in versions] == [versions[0].digest] * 3
    fetched = store.fetch(versions[0], to=tmp_path / "fetched")
    (tmp_path / "again").mkdir()
    prepare(fetched, BASE, into=tmp_path / "again")
    assert bytes_of(tmp_path / "again") == bytes_of(fetched)


def test_other_weights_other_settings_and_another_base_are_other_versions(tmp_path: Path) -> None:
    store = open_artifacts(FolderSettings(), home=tmp_path / "store")
    ways = [
        (BASE, adapter(tmp_path / "1")),
        (BASE, adapter(tmp_path / "2", settings=config(lora_alpha=9))),
        (BASE, adapter(tmp_path / "3", settings=config(use_rslora=True))),
        (BASE, adapter(tmp_path / "4", weights=tensors(dtype="BF16"))),
        (replace(BASE, revision="c" * 40), adapter(tmp_path / "5")),
    ]
    digests = set()
    for number, (base, folder) in enumerate(ways):
        (tmp_path / f"into{number}").mkdir()
        prepare(folder, base, into=tmp_path / f"into{number}")
        digests.add(store.publish(tmp_path / f"into{number}", kind="adapter", name="ours", about={}).digest)
    assert len(digests) == len(ways)


def test_what_is_refused_leaves_nothing(tmp_path: Path, into: Path) -> None:
    bad = (("F32", (4, 8), numbers((4, 8))[2][:-4] + struct.pack("<f", math.nan)), numbers((4, 9)))
    for number, tensor in enumerate(bad):
        folder = adapter(tmp_path / f"bad{number}", weights={**tensors(), tensor_name(): tensor})
        with pytest.raises(AdapterInvalid):
            prepare(folder, BASE, into=into)
        assert bytes_of(into) == {}


def test_a_folder_that_holds_something_is_not_written(tmp_path: Path, into: Path) -> None:
    (into / CONFIG_FILE).write_text("theirs")
    with pytest.raises(FileExistsError):
        prepare(adapter(tmp_path / "mine"), BASE, into=into)
    assert bytes_of(into) == {CONFIG_FILE: b"theirs"}


def test_whatever_becomes_of_the_source_meanwhile_only_checked_bytes_are_published(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine")
    good = (folder / WEIGHTS_FILE).read_bytes()
    evil = [
        safetensors({**tensors(), tensor_name(): ("F32", (4, 8), struct.pack("<f", math.inf) * 32)}),
        good + b"!" * 5_000,
        good[:-100],
        safetensors(tensors(("k_proj",))),
    ]
    stop, turns = Event(), 0

    def swap() -> None:
        while not stop.is_set():
            for raw in (good, *evil):
                (tmp_path / "next").write_bytes(raw)
                (tmp_path / "next").replace(folder / WEIGHTS_FILE)

    thread = Thread(target=swap)
    thread.start()
    try:
        published = []
        while turns < 200 or not published:
            turns += 1
            (tmp_path / f"into{turns}").mkdir()
            with suppress(AdapterInvalid):
                prepare(folder, BASE, into=tmp_path / f"into{turns}")
                published.append(tmp_path / f"into{turns}")
    finally:
        stop.set()
        thread.join()
    assert all((place / WEIGHTS_FILE).read_bytes() == good for place in published)
    left = [path for path in tmp_path.glob("into*") if path not in published and any(path.iterdir())]
    assert (len(published) >= 1, left) == (True, [])

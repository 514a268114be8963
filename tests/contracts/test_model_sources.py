"""What a pull expects of every kind of model source in the table, against a real server of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from huggingface_hub import constants

from models.catalog.schema import HubSource, LocalSource, S3Source, Source
from models.catalog.sources import SOURCES, Access, Fetcher
from models.catalog.sources.s3 import folder_digest
from models.errors import ConfigurationError
from tests.models.catalog.origins import REPO, REVISION, S3_FOLDER, S3_KEYS, WANTED_FILES, loopback_hub, s3_server


@dataclass(frozen=True)
class Origin:
    """A source that holds the model, one that holds nothing, and the way to both."""

    source: Source
    missing: Source
    access: Access
    address: str


@pytest.fixture
def hub_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    source = HubSource(kind="hub", repo=REPO, revision=REVISION)
    with loopback_hub() as hub:
        missing = source.model_copy(update={"repo": "maker/other"})
        yield Origin(source, missing, Access(hub_endpoint=hub.url), hub.url)


@pytest.fixture(scope="module")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as address:
        yield address


@pytest.fixture
def s3_origin(s3_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Origin:
    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    for name, body in WANTED_FILES.items():
        (tmp_path / name).write_bytes(body)
    source = S3Source(kind="s3", url=S3_FOLDER, digest=folder_digest(tmp_path, list(WANTED_FILES)))
    missing = source.model_copy(update={"url": "s3://nowhere/tiny"})
    return Origin(source, missing, Access(s3_endpoint=s3_address), s3_address)


@pytest.fixture(params=SOURCES.kinds)
def origin(request: pytest.FixtureRequest) -> Origin:
    """Each kind brings a fixture of its own, by name: a kind without one fails here."""
    found: Origin = request.getfixturevalue(f"{request.param}_origin")
    return found


@pytest.fixture
def fetcher(origin: Origin) -> Fetcher:
    built: Fetcher = SOURCES.module(origin.source.kind).build(origin.source, origin.access)
    return built


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pulled"
    made.mkdir()
    return made


def test_a_card_can_name_every_kind_and_no_other_but_a_local_folder() -> None:
    named = {get_args(member.model_fields["kind"].annotation)[0] for member in get_args(get_args(Source)[0])}
    assert named == {*SOURCES.kinds, *get_args(LocalSource.model_fields["kind"].annotation)}


def test_the_listing_is_the_wanted_files_and_all_of_them_are_missing(fetcher: Fetcher, folder: Path) -> None:
    found = {file.name: (file.size, file.missing_bytes) for file in fetcher.listing(folder)}
    assert found == {name: (len(body), len(body)) for name, body in WANTED_FILES.items()}


def test_a_fetch_brings_what_was_listed_and_counts_every_byte_once(fetcher: Fetcher, folder: Path) -> None:
    counted: list[int] = []
    fetcher.fetch(fetcher.listing(folder), folder, advance=counted.append)
    assert {name: (folder / name).read_bytes() for name in WANTED_FILES} == WANTED_FILES
    assert sum(counted) == sum(map(len, WANTED_FILES.values()))
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == set(WANTED_FILES)


def test_what_lies_there_complete_is_not_fetched_again(fetcher: Fetcher, folder: Path) -> None:
    fetcher.fetch(fetcher.listing(folder), folder, advance=lambda _: None)
    (folder / "config.json").unlink()
    files, counted = fetcher.listing(folder), list[int]()
    assert {file.name: file.missing_bytes for file in files if file.missing_bytes} == {
        "config.json": len(WANTED_FILES["config.json"])
    }
    fetcher.fetch(files, folder, advance=counted.append)
    assert sum(counted) == len(WANTED_FILES["config.json"])


def test_a_source_that_is_not_there_is_named_and_its_server_is_not(origin: Origin, folder: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SOURCES.module(origin.source.kind).build(origin.missing, origin.access).listing(folder)
    assert getattr(origin.missing, "repo", getattr(origin.missing, "url", None)) in caught.value.public
    assert origin.address not in caught.value.public

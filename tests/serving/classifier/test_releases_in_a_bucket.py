"""Releases on a real object store: what one machine publishes and promotes is found and loaded by another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.artifacts.s3 import S3Settings
from models.embedders import Embedder
from models.errors import ConfigurationError
from router.types import NoReading, Reading
from serving.classifier.client import ask_of, outcome_of
from serving.classifier.published import PublishedRouters
from serving.classifier.releases import ReleaseBook, Releases
from serving.classifier.scorer import Scorer
from serving.store.store import Store
from tests.models.catalog.origins import S3_KEYS, s3_server
from tests.serving.conftest import ManualClock

SUM = "If 12 apples cost 30, what do 7 cost?"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as found:
        yield found


@pytest.fixture
def bucket(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Settings:
    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    return S3Settings(kind="s3", bucket="weights", prefix=f"routers/{tmp_path.name}", endpoint=address)


def machine(bucket: S3Settings, folder: Path) -> PublishedRouters:
    """The routers of the bucket, as a machine with a disk of its own sees them."""
    return PublishedRouters.of(bucket, home=folder / "artifacts", cache=folder / "fetched", name="default")


@pytest.fixture
def routers(bucket: S3Settings, tmp_path: Path) -> PublishedRouters:
    """Where `versions` are published: the operator's machine."""
    return machine(bucket, tmp_path / "operator")


@pytest.fixture
def scorer(bucket: S3Settings, tmp_path: Path, embedder: Embedder) -> Scorer:
    """The classifier's machine."""
    return Scorer(embedder, None, find=machine(bucket, tmp_path / "classifier").model)


def releases_of(store: Store, routers: PublishedRouters) -> Releases:
    return Releases(
        store.releases, store.records.scores, name="default", policy="learned", find=routers.model, clock=ManualClock()
    )


@pytest.fixture
def releases(store: Store, routers: PublishedRouters) -> Releases:
    return releases_of(store, routers)


class Gateway:
    """Follows the releases, and has the classifier load each version before it goes by it."""

    def __init__(self, store: Store, scorer: Scorer) -> None:
        self._book = ReleaseBook(store.releases, name="default", policy="learned")
        self._scorer = scorer

    async def read(self) -> Reading | NoReading:
        async def prepare(version: str) -> None:
            self._scorer.load(version)

        await self._book.refresh(prepare)
        release = self._book.release
        assert release is not None
        told = self._scorer.read([ask_of(SUM, release, policy="learned", within_s=1, nearest=None)])[0]
        return outcome_of(told, release).reading


async def test_a_version_of_a_bucket_is_promoted_loaded_elsewhere_and_rolled_back(
    releases: Releases, versions: tuple[str, str], store: Store, scorer: Scorer, tmp_path: Path
) -> None:
    gateway, seen = Gateway(store, scorer), []
    for change in (releases.promote(versions[0]), releases.promote(versions[1], share=0.3), releases.rollback()):
        row = await change
        reading = await gateway.read()
        assert isinstance(reading, Reading)
        assert (reading.version, reading.threshold) == (row.version, row.threshold)
        seen.append(reading.version)
    assert seen == [versions[0], versions[1], versions[0]]
    for name in ("operator", "classifier"):
        kept = tmp_path / name
        assert {path.name for path in (kept / "fetched" / "router" / "default").iterdir()} >= set(versions)
        assert not (kept / "artifacts").exists()


async def test_a_version_that_the_bucket_has_lost_or_never_had_changes_nothing(
    releases: Releases, versions: tuple[str, str], store: Store, bucket: S3Settings, tmp_path: Path
) -> None:
    live = await releases.promote(versions[0])
    elsewhere = machine(bucket.model_copy(update={"prefix": "routers/empty"}), tmp_path / "other")
    with pytest.raises(ConfigurationError, match="Nothing is published as router 'default'"):
        await releases_of(store, elsewhere).promote(versions[1])
    gone = machine(bucket.model_copy(update={"bucket": "no-such-bucket"}), tmp_path / "gone")
    with pytest.raises(ConfigurationError, match="object store does not serve"):
        gone.version(versions[0])
    assert await store.releases.live("default", "learned") == live

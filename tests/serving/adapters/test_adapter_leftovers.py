"""What must not stay: rows in the middle of a step, files and drafts of nobody, numbers and names that are taken."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from models.artifacts.artifact import VERSION_DIGITS, Artifact, ArtifactKind
from models.artifacts.folder import FolderSettings, build
from models.artifacts.store import ArtifactStore, open_artifacts
from models.clock import SystemClock
from models.crash import CrashPoints
from models.errors import InvalidRequest
from serving.adapters.drafts import tidy
from serving.adapters.housekeeping import SWEEP_EVERY_S, House, Housekeeping
from serving.adapters.in_hand import InHand
from serving.adapters.registry import KIND, AdapterRegistry, Received, Surroundings, removed
from serving.adapters.releases import Actor
from serving.adapters.replicas import open_replicas
from serving.settings import AdapterSettings
from serving.store.adapters import VersionRow
from tests.serving.adapters.stand import CARDS, SMALL, TOKEN, Stand, adapter_zip, base, opened_stand, until
from tests.serving.adapters.third import releases_of
from tests.serving.conftest import ManualClock

ACTOR = Actor("acme", "key")


class SlowStore(ArtifactStore):
    """Says when a publication is done, and lets it return when it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(build(FolderSettings(path=folder), folder), max_bytes=2**30, clock=SystemClock())
        self.published, self.go_on = threading.Event(), threading.Event()

    def publish(self, folder: Path, *, kind: ArtifactKind, name: str, about: Mapping[str, str]) -> Artifact:
        made = super().publish(folder, kind=kind, name=name, about=about)
        self.published.set()
        assert self.go_on.wait(20)
        return made


def registry_of(stand: Stand, folder: Path, artifacts: ArtifactStore, **settings: int) -> AdapterRegistry:
    """A third gateway's."""
    (folder / "third").mkdir()
    around = Surroundings(
        bases={SMALL: base()},
        model_names=frozenset({*CARDS, "auto"}),
        artifacts=artifacts,
        work=folder / "third",
        fetched=folder / "fetched-third",
        gateway="third",
        settings=AdapterSettings(**settings),  # type: ignore[arg-type]
        max_bytes=2**30,
        in_hand=InHand(),
        crash=CrashPoints(None),
    )
    return AdapterRegistry(stand.store.adapters, around, clock=SystemClock())


def archive(folder: Path, seed: int = 0) -> Received:
    path = folder / f"{seed}.zip"
    path.write_bytes(adapter_zip(seed))
    return Received(path, path.stat().st_size)


@pytest.mark.parametrize("path", ["/v1/adapters/bot", "/v1/adapters/bot/versions/1"])
async def test_what_is_deleted_while_it_is_checked_does_not_come_back(stand: Stand, tmp_path: Path, path: str) -> None:
    store = SlowStore(tmp_path / "artifacts")
    registry = registry_of(stand, tmp_path, store)
    push = asyncio.create_task(registry.push(ACTOR, "bot", archive=archive(tmp_path), base=SMALL, about={}))
    await asyncio.to_thread(store.published.wait, 20)
    assert (await stand.ask("DELETE", path)).status_code == 200
    store.go_on.set()
    with pytest.raises(InvalidRequest, match="deleted"):
        await push
    assert await stand.store.adapters.in_states("uploaded", "validated", "failed") == []


async def test_what_a_living_gateway_could_not_take_back_does_not_stay_as_it_is(tmp_path: Path) -> None:
    async with opened_stand(tmp_path, gateways=1, gone_s=1.0) as stand:
        await stand.push(1)
        long_ago = time.time() - 60
        async with stand.store.adapters.changing() as change:
            adapter = await change.adapter("acme", "bot")
            assert adapter is not None
            row = await change.version(adapter.id, 1)
            assert row is not None
            await change.put_version(replace(row, state="loading", holder="g0", state_at=long_ago))
            await change.put_version(VersionRow(adapter.id, 2, "uploaded", "k", long_ago, long_ago, holder="g0"))

        async def settled() -> bool:
            return await stand.states() == {1: "validated", 2: "failed"}

        await until(settled)


async def test_what_a_living_gateway_works_on_is_left_to_it(tmp_path: Path) -> None:
    async with opened_stand(tmp_path, gateways=1, gone_s=0.5) as stand:
        await stand.push(1)
        stand.replicas[0].lora.gate.clear()
        promote = asyncio.create_task(stand.promote(1))
        await asyncio.sleep(4)  # two rounds of housekeeping
        assert await stand.states() == {1: "loading"}
        stand.replicas[0].lora.gate.set()
        assert (await promote).status_code == 200


async def test_a_number_is_never_given_again(stand: Stand) -> None:
    for seed in (1, 2):
        await stand.push(seed)
    await stand.ask("DELETE", "/v1/adapters/bot/versions/2")
    assert (await stand.push(3)).json()["version"] == 3
    assert (await stand.push(3)).json()["version"] == 3
    assert (await stand.push(4)).json()["version"] == 4


async def test_an_adapter_cannot_have_the_name_of_a_model_that_is_served_without_adapters(
    stand: Stand, tmp_path: Path
) -> None:
    registry = registry_of(stand, tmp_path, open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path))
    with pytest.raises(InvalidRequest, match="has this name"):
        await registry.create(ACTOR, "demo-large", base=SMALL)


async def test_bytes_are_counted_as_they_are_unpacked(stand: Stand, tmp_path: Path) -> None:
    artifacts = open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path)
    came = archive(tmp_path)
    registry = registry_of(stand, tmp_path, artifacts, org_max_bytes=came.size // 2)
    packed = replace(came, size=100)  # as an archive that is well deflated
    with pytest.raises(InvalidRequest, match="Your org's adapters hold"):
        await registry.push(ACTOR, "bot", archive=packed, base=SMALL, about={})
    assert set((await stand.states()).values()) == {"failed"}


async def test_of_many_pushes_that_failed_the_last_ones_are_kept(stand: Stand) -> None:
    headers = {"content-type": "application/zip"}
    for _ in range(22):
        await stand.ask("POST", "/v1/adapters/bot/versions", content=b"x", params={"base": SMALL}, headers=headers)
    assert sorted(await stand.states()) == list(range(3, 23))


async def test_the_sweep_takes_what_no_row_speaks_of_and_spares_another_stacks(stand: Stand, tmp_path: Path) -> None:
    kept = (await stand.push(1)).json()["digest"]
    [adapter] = (await stand.store.adapters.everything("acme"))[0]
    artifacts = open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "adapter_config.json").write_text("{}")
    for name in (adapter.id, "adp-of-another-stack"):
        artifacts.publish(tmp_path / "files", kind=KIND, name=name, about={})
    for path in (tmp_path / "artifacts").rglob("*"):
        os.utime(path, (time.time() - 7200,) * 2)
    await sweep(stand, artifacts, work=tmp_path / "drafts")
    assert [one.digest for one in artifacts.versions(KIND, adapter.id)] == [kept]
    assert len(artifacts.versions(KIND, "adp-of-another-stack")) == 1


async def test_what_else_is_kept_is_swept_in_the_same_round(stand: Stand, tmp_path: Path) -> None:
    swept: list[str] = []

    async def others() -> None:
        swept.append("files")

    artifacts = open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path)
    await sweep(stand, artifacts, work=tmp_path / "drafts", also=others)
    assert swept == ["files"]


async def sweep(
    stand: Stand, artifacts: ArtifactStore, *, work: Path, also: Callable[[], Awaitable[None]] | None = None
) -> None:
    """A round of a gateway that has lived for an hour."""
    clock = ManualClock(time.time() + 7200)
    async with releases_of(stand) as releases, open_replicas(stand.directory, token=TOKEN, load_s=10) as replicas:
        house = House(
            stand.store.adapters,
            stand.store.views,
            replicas,
            releases,
            artifacts,
            revisions={SMALL: base().revision},
            work=work,
            in_hand=InHand(),
            gateway="third",
            gone_s=5.0,
            clock=clock,
        )
        keeping = Housekeeping(house, judge=lambda: asyncio.sleep(0), sweeps=[] if also is None else [also])
        clock.at += SWEEP_EVERY_S
        await keeping.round()


async def test_files_that_a_row_speaks_of_by_now_are_not_removed(stand: Stand, tmp_path: Path) -> None:
    digest = (await stand.push(1)).json()["digest"]
    [adapter] = (await stand.store.adapters.everything("acme"))[0]
    artifacts = open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path)
    at = {"adapter": adapter.id, "version": digest[:VERSION_DIGITS]}
    assert not await removed(stand.store.adapters, artifacts, **at)
    [found] = artifacts.versions(KIND, adapter.id)
    assert artifacts.has(found)
    next((tmp_path / "artifacts").rglob("*.safetensors")).unlink()
    assert not artifacts.has(found)
    async with stand.store.adapters.changing() as change:
        await change.drop_version(adapter.id, 1)
    assert await removed(stand.store.adapters, artifacts, **at)
    assert artifacts.versions(KIND, adapter.id) == []


def test_drafts_of_a_process_that_died_are_removed_and_young_ones_stay(tmp_path: Path) -> None:
    for name, age in (("upload-old", 7200), ("upload-new", 0)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    for name, age in (("push-old", 7200), ("push-new", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"x")
        os.utime(tmp_path / name / "file", (time.time() - age,) * 2)
        os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    assert tidy(tmp_path, before=time.time() - 3600) == ["push-old", "upload-old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["push-new", "upload-new"]


@pytest.mark.parametrize("part", ["bytes=0-9", "bytes=99999999-", "nonsense"])
async def test_what_was_exported_leaves_no_draft_whatever_part_is_asked_for(
    stand: Stand, tmp_path: Path, part: str
) -> None:
    await stand.push(1)
    content = await stand.ask("GET", "/v1/adapters/bot/versions/1/content", headers={"range": part})
    assert (content.status_code, content.content[:2]) == (200, b"PK")

    async def gone() -> bool:
        return list((tmp_path / "drafts").iterdir()) == []

    await until(gone)

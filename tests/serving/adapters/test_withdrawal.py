"""A deletion of a model that is cut in the middle: what is left goes all the same, unless somebody wants it again."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from models.artifacts.folder import FolderSettings
from models.artifacts.store import open_artifacts
from models.clock import SystemClock
from serving.adapters.registry import AdapterRegistry
from serving.adapters.releases import Actor, Releases
from serving.adapters.withdrawal import Withdrawal
from tests.serving.adapters.stand import Stand, opened_stand, third_gateway, until
from tests.serving.adapters.third import releases_of

ACTOR = Actor("acme", "key")
MODEL = "ft:demo-small:acme:bot:1"


class Died(Exception):
    """The gateway's end."""


class Dying(Withdrawal):
    """One whose gateway dies behind the first step: the name is away."""

    async def _retired(self, *_: object, **__: object) -> list[int]:
        raise Died


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with opened_stand(tmp_path, gateways=1, replicas=1, warm_s=600) as made:
        yield made


def registry_of(stand: Stand, folder: Path) -> AdapterRegistry:
    around = third_gateway(folder, open_artifacts(FolderSettings(path=folder / "artifacts"), home=folder))
    return AdapterRegistry(stand.store.adapters, around, clock=SystemClock())


async def cut(stand: Stand, folder: Path, releases: Releases) -> Withdrawal:
    """A served version whose deletion was cut, and another gateway's hand at it."""
    await stand.push(1)
    await releases.serve(ACTOR, "bot", number=1, system_alias=MODEL)
    parts = {"registry": registry_of(stand, folder), "clock": SystemClock()}
    with pytest.raises(Died):
        await Dying(stand.store.adapters, releases, **parts)(ACTOR, MODEL)

    async def retired() -> bool:
        return await stand.states() == {1: "retired"}

    await until(retired)
    return Withdrawal(stand.store.adapters, releases, **parts)


async def test_the_version_of_a_deletion_that_was_cut_goes_with_its_files(stand: Stand, tmp_path: Path) -> None:
    async with releases_of(stand) as releases:
        withdrawal = await cut(stand, tmp_path, releases)
        await withdrawal.sweep()
        await withdrawal.sweep()
    assert await stand.states() == {}
    assert [path for path in (tmp_path / "artifacts").rglob("*.safetensors") if path.is_file()] == []


async def test_a_version_whose_files_are_pushed_again_stays(stand: Stand, tmp_path: Path) -> None:
    async with releases_of(stand) as releases:
        withdrawal = await cut(stand, tmp_path, releases)
        assert (await stand.push(1)).json()["version"] == 1
        await withdrawal.sweep()
    assert await stand.states() == {1: "retired"}


async def test_a_version_that_was_wanted_again_stays_also_when_it_is_retired_later(
    stand: Stand, tmp_path: Path
) -> None:
    async with releases_of(stand) as releases:
        withdrawal = await cut(stand, tmp_path, releases)
        assert (await stand.promote(1)).status_code == 200
        await withdrawal.sweep()
        await stand.ask("POST", "/v1/adapters/bot/retire", json={})

        async def retired() -> bool:
            return await stand.states() == {1: "retired"}

        await until(retired)
        await withdrawal.sweep()
    assert await stand.states() == {1: "retired"}

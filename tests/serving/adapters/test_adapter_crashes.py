"""A gateway that dies at each named point of a push or a release: what is left, and that another one puts it right."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from models.artifacts.folder import FolderSettings
from models.artifacts.store import open_artifacts
from models.crash import EXIT_CODE
from serving.adapters.registry import KIND
from tests.serving.adapters.stand import Stand, adapter_zip, opened_gateway, opened_stand, parts_of, settings_of, until

PUSH_POINTS = ("adapters.checked", "adapters.published")
RELEASE_POINTS = ("adapters.claimed", "adapters.loaded", "adapters.before_flip", "adapters.flipped")


@asynccontextmanager
async def dying(stand: Stand, folder: Path, crash_at: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A second gateway, which is told to die there. It is the stand's second one inside the block."""
    replicas = [replica.url for replica in stand.replicas]
    url = stand.store.database.engine.url.render_as_string(hide_password=False)
    arguments = ["-m", "tests.serving.adapters.crashing", str(folder), url, crash_at, *replicas]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    stand.urls.append((await process.stdout.readline()).decode().strip())
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        stand.urls.pop()


async def sound(stand: Stand, folder: Path) -> None:
    """No version is ready or live without files of its digest; what is live is loaded on every replica."""
    artifacts = open_artifacts(FolderSettings(path=folder / "artifacts"), home=folder)
    snapshot = await stand.store.adapters.snapshot()
    for version in snapshot.versions:
        assert version.digest is not None
        found = artifacts.find(KIND, version.adapter, version=version.digest)
        assert artifacts.fetch(found, to=folder / "audit").is_dir()


@pytest.mark.parametrize("point", PUSH_POINTS)
async def test_a_push_that_is_cut_leaves_a_failed_version_and_the_next_push_succeeds(
    tmp_path: Path, point: str
) -> None:
    async with opened_stand(tmp_path, gateways=1, gone_s=1.0) as stand:
        async with dying(stand, tmp_path, point) as process:
            with pytest.raises(httpx2.HTTPError):
                await stand.ask(
                    "POST",
                    "/v1/adapters/bot/versions",
                    gateway=1,
                    content=adapter_zip(1),
                    params={"base": "demo-small"},
                    headers={"content-type": "application/zip"},
                )
            assert await process.wait() == EXIT_CODE
        await until(lambda: _is(stand, {1: "failed"}), within_s=20)
        pushed = await stand.push(1)
        assert (pushed.json()["version"], pushed.json()["state"]) == (2, "validated")
        assert (await stand.promote(2)).status_code == 200
        await sound(stand, tmp_path)


@pytest.mark.parametrize("point", RELEASE_POINTS)
async def test_a_release_that_is_cut_is_whole_or_undone_and_can_be_done_again(tmp_path: Path, point: str) -> None:
    async with opened_stand(tmp_path, gateways=1, gone_s=1.0) as stand:
        for seed in (1, 2):
            await stand.push(seed)
        await stand.promote(1)
        async with dying(stand, tmp_path, point) as process:
            with pytest.raises(httpx2.HTTPError):
                await stand.ask("POST", "/v1/adapters/bot/promote", gateway=1, json={"version": 2})
            assert await process.wait() == EXIT_CODE
        flipped = point == "adapters.flipped"
        wanted = {1: "draining", 2: "ready"} if flipped else {1: "ready", 2: "validated"}
        await until(lambda: _is(stand, wanted), within_s=20)
        await until(lambda: _answers(stand, "2" if flipped else "1"))
        await sound(stand, tmp_path)
        again = await stand.promote(2)
        assert again.status_code == 200, again.text
        assert (await stand.chat()).headers["x-penstock-adapter-version"] == "2"
        assert await stand.states() == {1: "draining", 2: "ready"}


async def test_a_gateway_that_comes_later_agrees_with_the_others_on_every_alias(tmp_path: Path) -> None:
    async with opened_stand(tmp_path, gateways=1) as stand:
        await stand.push(1)
        await stand.promote(1)
        url = stand.store.database.engine.url.render_as_string(hide_password=False)
        parts = parts_of(tmp_path, settings_of(tmp_path), stand.directory, url=url, gateway="late")
        async with opened_gateway(parts) as address:
            stand.urls.append(address)
            versions = {(await stand.chat(gateway=gateway)).headers["x-penstock-adapter-version"] for gateway in (0, 1)}
            assert versions == {"1"}


async def _is(stand: Stand, states: dict[int, str]) -> bool:
    return await stand.states() == states


async def _answers(stand: Stand, version: str) -> bool:
    return (await stand.chat()).headers["x-penstock-adapter-version"] == version

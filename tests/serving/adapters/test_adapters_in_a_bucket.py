"""Adapters whose files lie in a real object store: pushed, released, taken back, exported and deleted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.artifacts.s3 import S3Settings
from models.artifacts.store import open_artifacts
from serving.adapters.registry import KIND
from tests.models.catalog.origins import S3_KEYS, s3_server
from tests.serving.adapters.stand import opened_stand, until


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Settings]:
    for name, value in S3_KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_server(tmp_path / "log") as address:
        yield S3Settings(kind="s3", bucket="weights", prefix="adapters", endpoint=address)


async def test_an_adapter_lives_its_whole_life_in_a_bucket(bucket: S3Settings, tmp_path: Path) -> None:
    async with opened_stand(tmp_path, artifacts=bucket, warm_s=0) as stand:
        for seed in (1, 2):
            assert (await stand.push(seed)).status_code == 201
            assert (await stand.promote(seed)).status_code == 200
        assert (await stand.chat(gateway=1)).headers["x-penstock-adapter-version"] == "2"
        back = await stand.ask("POST", "/v1/adapters/bot/rollback", json={})
        assert back.status_code == 200, back.text
        assert (await stand.chat()).headers["x-penstock-adapter-version"] == "1"
        content = await stand.ask("GET", "/v1/adapters/bot/versions/2/content")
        assert content.content.startswith(b"PK")
        await stand.ask("POST", "/v1/adapters/bot/retire", json={})

        async def unloaded() -> bool:
            return set((await stand.states()).values()) == {"retired"}

        await until(unloaded, within_s=20)
        assert (await stand.ask("DELETE", "/v1/adapters/bot")).status_code == 200
        assert open_artifacts(bucket, home=tmp_path).names(KIND) == []
    assert not (tmp_path / "artifacts").exists()

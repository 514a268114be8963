"""What goes on behind releases: no replica holds up a verdict, and nothing that was just released is unloaded."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from models.artifacts.folder import FolderSettings
from models.artifacts.store import open_artifacts
from models.clock import SystemClock
from serving.adapters.housekeeping import House, Housekeeping
from serving.adapters.in_hand import InHand
from serving.adapters.replicas import open_replicas
from serving.engines.adapter_status import standing
from serving.store.adapters import AdapterTable, Snapshot, ref_of
from serving.store.store import Store
from tests.serving.adapters.stand import SMALL, TOKEN, Stand, base, opened_stand, until
from tests.serving.adapters.third import releases_of


async def test_a_replica_that_hangs_holds_up_no_verdict_on_a_canary(tmp_path: Path) -> None:
    async with opened_stand(tmp_path, gateways=1) as stand:
        for seed in (1, 2):
            await stand.push(seed)
        await stand.promote(1)
        await stand.ask("POST", "/v1/adapters/bot/canary", json={"version": 2, "weight": 10})
        replica = stand.replicas[0]
        replica.lora.gate.clear()
        for version in replica.shelf.versions:
            await replica.shelf.drop(version.ref.engine_name, wait_s=1)

        async def hangs() -> bool:
            return bool(replica.shelf.loading)

        await until(hangs)
        for version, passed in ((1, 95), (2, 10)):
            score = {"suite": "golden", "passed": passed, "count": 100}
            await stand.ask("POST", f"/v1/adapters/bot/versions/{version}/scores", json=score)

        async def gone_back() -> bool:
            return len((await stand.ask("GET", "/v1/aliases/bot")).json()["targets"]) == 1

        await until(gone_back)
        assert replica.shelf.loading
        replica.lora.gate.set()


class Overtaken(AdapterTable):
    """The first snapshot is old by the time at which it is there."""

    def __init__(self, store: Store, act: Callable[[], Awaitable[object]]) -> None:
        super().__init__(store.database)
        self._act: Callable[[], Awaitable[object]] | None = act

    async def snapshot(self, revisions: Mapping[str, str] | None = None) -> Snapshot:
        found = await super().snapshot(revisions)
        if (act := self._act) is not None:
            self._act = None
            await act()
        return found


async def test_what_is_released_while_housekeeping_looks_is_not_unloaded_again(stand: Stand, tmp_path: Path) -> None:
    name = (await stand.push(1)).json()["model"]
    removed: list[int] = []

    async def release() -> None:
        assert (await stand.promote(1)).status_code == 200
        removed.extend(len(replica.lora.removed) for replica in stand.replicas)

    async with releases_of(stand) as releases, open_replicas(stand.directory, token=TOKEN, load_s=10) as replicas:
        house = House(
            Overtaken(stand.store, release),
            stand.store.views,
            replicas,
            releases,
            open_artifacts(FolderSettings(path=tmp_path / "artifacts"), home=tmp_path),
            revisions={SMALL: base().revision},
            work=tmp_path / "drafts",
            in_hand=InHand(),
            gateway="g0",  # which has the lease
            gone_s=5.0,
            clock=SystemClock(),
        )
        keeping = Housekeeping(house, judge=lambda: asyncio.sleep(0))
        [adapter] = (await stand.store.adapters.everything("acme"))[0]
        version = (await stand.store.adapters.versions(adapter.id))[0]
        await replicas.load(SMALL, ref_of(adapter, version))
        await keeping.round()
        await keeping.bring()
    assert removed == [len(replica.lora.removed) for replica in stand.replicas]
    assert all(name in replica.lora.names for replica in stand.replicas)


async def test_an_adapter_lives_its_whole_life_on_both_databases(tmp_path: Path, store_url: str) -> None:
    async with opened_stand(tmp_path, url=store_url, warm_s=0) as stand:
        for seed in (1, 2, 3):
            assert (await stand.push(seed)).status_code == 201
        for version in (1, 2):
            assert (await stand.promote(version)).json()["waiting"] == []
        tried = await stand.ask("POST", "/v1/adapters/bot/canary", json={"version": 3, "weight": 50})
        assert tried.status_code == 200, tried.text
        for wanted in (2, 1):
            back = await stand.ask("POST", "/v1/adapters/bot/rollback", json={})
            assert back.json()["targets"] == [{"version": wanted, "weight": 100.0}], back.text
        assert (await stand.chat(gateway=1)).headers["x-penstock-adapter-version"] == "1"
        await stand.ask("POST", "/v1/adapters/bot/retire", json={})

        async def unloaded() -> bool:
            return (
                not any(replica.lora.names for replica in stand.replicas)
                and "ready" not in (await stand.states()).values()
            )

        await until(unloaded)
        deleted = await stand.ask("DELETE", "/v1/adapters/bot")
        assert deleted.status_code == 200, deleted.text
        assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []


async def test_a_version_whose_files_are_gone_is_degraded_until_they_are_fetched_again(tmp_path: Path) -> None:
    async with opened_stand(tmp_path, gateways=1, replicas=1) as stand:
        await stand.push(1)
        await stand.promote(1)
        replica = stand.replicas[0]
        (version,) = replica.shelf.versions
        told = await standing(replica.shelf)
        assert [one["state"] for one in told["adapters"]] == ["ready"]
        shutil.rmtree(version.folder)
        told = await standing(replica.shelf)
        assert [one["state"] for one in told["adapters"]] == ["degraded"]

        async def mended() -> bool:
            return [one["state"] for one in (await standing(replica.shelf))["adapters"]] == ["ready"]

        await until(mended)
        assert (await stand.chat()).status_code == 200


async def test_why_a_call_of_an_adapter_goes_where_it_goes_is_told(tmp_path: Path) -> None:
    async with opened_stand(tmp_path, gateways=1, replicas=1) as stand:
        await stand.push(1)
        await stand.promote(1)
        body = {"model": "bot", "messages": [{"role": "user", "content": "hi"}]}
        found = (await stand.ask("POST", "/v1/router/explain", key="user", json=body)).json()
        assert [(one["card"], one["adapter"]["number"]) for one in found["attempts"]] == [(SMALL, 1)]
        hidden = await stand.ask("POST", "/v1/router/explain", key="rival", json=body)
        assert (hidden.status_code, hidden.json()["error"]["code"]) == (404, "model_not_found")

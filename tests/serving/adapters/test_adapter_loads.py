"""A version that is loaded without a release, and names that the stack alone makes."""

from pathlib import Path

import pytest

from models.errors import InvalidRequest
from serving.adapters.releases import Actor
from tests.serving.adapters.stand import Stand, opened_stand, until
from tests.serving.adapters.third import releases_of

ACTOR = Actor("acme", "test")
TUNED = "ft:demo-small:acme:bot:0a1b2c"


async def load(stand: Stand, version: int, **more: object) -> dict[str, object]:
    answer = await stand.ask("POST", "/v1/adapters/bot/load", json={"version": version, **more})
    assert answer.status_code == 200, answer.text
    told: dict[str, object] = answer.json()
    return told


async def test_a_loaded_version_answers_by_its_own_name_on_every_gateway_and_no_alias_changes(stand: Stand) -> None:
    for seed in (1, 2):
        await stand.push(seed)
    await stand.promote(1)
    loaded = await load(stand, 2, warm_s=60)
    assert (loaded["state"], loaded["waiting"], len(loaded["replicas"])) == ("draining", [], 2)  # type: ignore[arg-type]
    for gateway in (0, 1):
        tried = await stand.chat(str(loaded["model"]), gateway=gateway)
        assert (tried.status_code, tried.headers["x-penstock-adapter-version"]) == (200, "2")
        assert (await stand.chat(gateway=gateway)).headers["x-penstock-adapter-version"] == "1"
    assert await stand.states() == {1: "ready", 2: "draining"}


async def test_a_first_version_is_loaded_without_a_public_name(stand: Stand) -> None:
    await stand.push(1)
    loaded = await load(stand, 1)
    assert (await stand.chat(str(loaded["model"]))).status_code == 200
    assert (await stand.chat()).status_code == 404
    assert (await stand.chat(str(loaded["model"]), key="rival")).status_code == 404


async def test_another_release_does_not_end_the_time_of_a_loaded_version(stand: Stand) -> None:
    for seed in (1, 2, 3):
        await stand.push(seed)
    await stand.promote(1)
    loaded = await load(stand, 2, warm_s=600)
    await stand.promote(3)
    after = (await stand.ask("GET", "/v1/adapters/bot/versions/2")).json()
    assert (after["state"], after["warm_until"]) == ("draining", loaded["warm_until"])
    assert (await stand.chat(str(loaded["model"]))).status_code == 200


async def test_a_loaded_version_goes_when_its_time_is_over_unless_it_was_released(tmp_path: Path) -> None:
    async with opened_stand(tmp_path, gateways=1) as stand, releases_of(stand) as releases:
        for seed in (1, 2):
            await stand.push(seed)
            await releases.load(ACTOR, "bot", number=seed, warm_s=0.5)
        await stand.promote(1)

        async def gone() -> bool:
            return await stand.states() == {1: "ready", 2: "retired"}

        await until(gone)
        assert (await stand.chat()).status_code == 200


async def test_a_replica_that_cannot_load_leaves_the_version_as_it_was(stand: Stand) -> None:
    pushed = (await stand.push(1)).json()
    stand.replicas[1].lora.refuses[pushed["model"]] = "it does not fit"
    refused = await stand.ask("POST", "/v1/adapters/bot/load", json={"version": 1})
    assert (refused.status_code, "it does not fit" in refused.text) == (503, True)
    assert await stand.states() == {1: "validated"}


async def test_a_live_version_that_is_loaded_again_stays_live(stand: Stand) -> None:
    await stand.push(1)
    await stand.promote(1)
    assert (await load(stand, 1))["state"] == "ready"
    assert (await stand.chat()).status_code == 200


async def test_a_system_name_serves_its_version_whatever_becomes_of_the_adapters_own(stand: Stand) -> None:
    for seed in (1, 2):
        await stand.push(seed)
    async with releases_of(stand, gateways=3) as releases:
        await releases.serve(ACTOR, "bot", number=1, system_alias=TUNED)
        await releases.serve(ACTOR, "bot", number=1, system_alias=TUNED)
    await stand.promote(1)
    await stand.promote(2)
    await stand.ask("POST", "/v1/adapters/bot/rollback", json={})
    await stand.promote(2)
    assert (await stand.chat(TUNED)).headers["x-penstock-adapter-version"] == "1"
    assert await stand.states() == {1: "ready", 2: "ready"}
    listed = (await stand.ask("GET", "/v1/models", key="user")).json()["data"]
    assert TUNED in [model["id"] for model in listed]
    assert (await stand.chat(TUNED, key="rival")).status_code == 404


async def test_no_client_makes_or_moves_a_system_name(stand: Stand) -> None:
    for seed in (1, 2):
        await stand.push(seed)
    async with releases_of(stand, gateways=3) as releases:
        await releases.serve(ACTOR, "bot", number=1, system_alias=TUNED)
        with pytest.raises(InvalidRequest, match="another version for good"):
            await releases.serve(ACTOR, "bot", number=2, system_alias=TUNED)
        with pytest.raises(InvalidRequest, match="no name of a fine-tuned model"):
            await releases.serve(ACTOR, "bot", number=1, system_alias="bot2")
    assert (await stand.promote(2, alias=TUNED)).status_code == 400
    targets = {"adapter": "bot", "targets": [{"version": 2, "weight": 100}]}
    assert (await stand.ask("PUT", f"/v1/aliases/{TUNED}", json=targets)).status_code == 400
    assert (await stand.ask("POST", "/v1/adapters/bot/rollback", json={"alias": TUNED})).status_code == 400
    assert (await stand.chat(TUNED)).headers["x-penstock-adapter-version"] == "1"


async def test_a_system_name_goes_with_its_adapter(stand: Stand) -> None:
    await stand.push(1)
    async with releases_of(stand, gateways=3) as releases:
        await releases.serve(ACTOR, "bot", number=1, system_alias=TUNED)
    await stand.ask("POST", "/v1/adapters/bot/retire", json={})
    assert (await stand.chat(TUNED)).status_code == 404

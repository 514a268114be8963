"""A release from the wire to the replicas: pushed, promoted, tried, rolled back, retired."""

import asyncio
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import httpx2

from models.artifacts.folder import FolderSettings
from serving.adapters.live import StoredLive
from tests.models.adapters.broken import broken_adapters
from tests.serving.adapters.stand import SMALL, Stand, adapter_zip, base, opened_replica, opened_stand, until


def version_of(answer: httpx2.Response) -> str | None:
    assert answer.status_code == 200, answer.text
    return answer.headers.get("x-penstock-adapter-version")


async def test_a_version_is_pushed_promoted_and_answers_on_every_gateway(stand: Stand) -> None:
    pushed = await stand.push()
    assert (pushed.status_code, pushed.json()["version"], pushed.json()["state"]) == (201, 1, "validated")
    released = (await stand.promote(1)).json()
    assert released["targets"] == [{"version": 1, "weight": 100.0}]
    assert {load["replica"] for load in released["replicas"]} == {
        replica.url.removeprefix("http://") for replica in stand.replicas
    }
    assert released["waiting"] == []
    for load in released["replicas"]:
        assert load["told_ms"] >= load["fetched_ms"] + load["loaded_ms"] + load["warmed_ms"] - 0.2
    for gateway in (0, 1):
        answer = await stand.chat(gateway=gateway)
        assert version_of(answer) == "1"
        assert answer.json()["model"] == pushed.json()["model"]
    assert all(len(replica.lora.names) == 1 for replica in stand.replicas)
    asked = [model for replica in stand.replicas for model in replica.models]
    assert asked == [pushed.json()["model"]] * 2


async def test_the_next_version_answers_as_soon_as_promote_returns_and_the_old_one_stays_warm(stand: Stand) -> None:
    for seed in (1, 2):
        await stand.push(seed)
    await stand.promote(1)
    assert version_of(await stand.chat(gateway=1)) == "1"
    assert (await stand.promote(2)).json()["previous"] == 1
    assert [version_of(await stand.chat(gateway=gateway)) for gateway in (0, 1)] == ["2", "2"]
    assert await stand.states() == {1: "draining", 2: "ready"}
    back = await stand.ask("POST", "/v1/adapters/bot/rollback", json={})
    assert back.json()["targets"] == [{"version": 1, "weight": 100.0}]
    assert version_of(await stand.chat()) == "1"
    assert all(len(replica.lora.added) == 2 for replica in stand.replicas)  # nothing was loaded again


async def test_a_version_that_nobody_names_is_unloaded_when_its_warm_time_is_over(tmp_path: Path) -> None:
    async with opened_stand(tmp_path, gateways=1, warm_s=0) as stand:
        for seed in (1, 2):
            await stand.push(seed)
            await stand.promote(seed)
        old = (await stand.ask("GET", "/v1/adapters/bot/versions/1")).json()["model"]

        async def gone() -> bool:
            return all(old not in replica.lora.names for replica in stand.replicas)

        await until(gone)
        assert (await stand.states())[1] == "retired"
        again = await stand.ask("POST", "/v1/adapters/bot/rollback", json={})
        assert again.status_code == 200, again.text
        assert version_of(await stand.chat()) == "1"


async def test_a_replica_that_cannot_load_stops_the_release_and_nothing_changes(stand: Stand) -> None:
    for seed in (1, 2):
        await stand.push(seed)
    await stand.promote(1)
    second = (await stand.ask("GET", "/v1/adapters/bot/versions/2")).json()["model"]
    stand.replicas[1].lora.refuses[second] = "it does not fit"
    refused = await stand.promote(2)
    assert refused.status_code == 503
    message = refused.json()["error"]["message"]
    assert stand.replicas[1].url.removeprefix("http://") in message
    assert "it does not fit" in message
    assert "Nothing was changed" in message
    assert await stand.states() == {1: "ready", 2: "validated"}
    assert version_of(await stand.chat()) == "1"

    async def forgotten() -> bool:
        return second not in stand.replicas[0].lora.names

    await until(forgotten)
    audit = (await stand.ask("GET", "/v1/adapters/bot/audit")).json()["data"]
    assert audit[0]["action"] == "load stopped"
    assert "it does not fit" in audit[0]["detail"]["reason"]


async def test_a_stack_without_a_replica_refuses_a_release(stand: Stand) -> None:
    await stand.push()
    stand.directory.base_urls[SMALL].clear()
    refused = await stand.promote(1)
    assert (refused.status_code, "No replica" in refused.text) == (503, True)
    assert await stand.states() == {1: "validated"}


async def test_another_org_sees_nothing_of_an_adapter(stand: Stand) -> None:
    await stand.push()
    await stand.promote(1)
    missing = await stand.ask("GET", "/v1/adapters/nobody", key="rival")
    for method, path in (("GET", ""), ("GET", "/status"), ("DELETE", ""), ("GET", "/versions/1/content")):
        theirs = await stand.ask(method, f"/v1/adapters/bot{path}", key="rival")
        assert (theirs.status_code, theirs.json()) == (404, missing.json())
    unknown, theirs = await stand.chat("nobody", key="rival"), await stand.chat(key="rival")
    assert theirs.status_code == unknown.status_code == 404
    assert theirs.json()["error"]["code"] == "model_not_found"
    assert theirs.text.replace("bot", "") == unknown.text.replace("nobody", "")
    names = [model["id"] for model in (await stand.ask("GET", "/v1/models", key="rival")).json()["data"]]
    assert "bot" not in names


async def test_models_lists_the_alias_with_its_base(stand: Stand) -> None:
    await stand.push()
    await stand.promote(1, alias="support")
    listed = {model["id"]: model for model in (await stand.ask("GET", "/v1/models", key="user")).json()["data"]}
    assert (listed["support"]["parent"], listed["support"]["tier"]) == (SMALL, "small")
    assert "bot" not in listed


async def test_a_version_can_be_pinned_by_its_engine_name(stand: Stand) -> None:
    for seed in (1, 2):
        await stand.push(seed)
        await stand.promote(seed)
    first = (await stand.ask("GET", "/v1/adapters/bot/versions/1")).json()["model"]
    assert version_of(await stand.chat(first)) == "1"
    assert version_of(await stand.chat("bot")) == "2"


async def test_a_canary_gets_its_share_of_sessions_and_each_session_keeps_its_version(stand: Stand) -> None:
    for seed in (1, 2):
        await stand.push(seed)
    await stand.promote(1)
    tried = await stand.ask("POST", "/v1/adapters/bot/canary", json={"version": 2, "weight": 50})
    assert tried.json()["targets"] == [{"version": 1, "weight": 50.0}, {"version": 2, "weight": 50.0}]
    first = [version_of(await stand.chat(**{"x-penstock-session": f"s{at}"})) for at in range(20)]
    again = [version_of(await stand.chat(gateway=1, **{"x-penstock-session": f"s{at}"})) for at in range(20)]
    assert first == again
    assert 3 <= first.count("2") <= 17
    ended = await stand.ask("POST", "/v1/adapters/bot/rollback", json={})
    assert ended.json()["targets"] == [{"version": 1, "weight": 100.0}]
    assert {version_of(await stand.chat(**{"x-penstock-session": f"s{at}"})) for at in range(20)} == {"1"}


async def test_a_canary_whose_calls_fail_goes_back_by_itself_with_the_evidence(stand: Stand) -> None:
    for seed in (1, 2):
        await stand.push(seed)
    await stand.promote(1)
    bad = (await stand.ask("GET", "/v1/adapters/bot/versions/2")).json()["model"]
    for replica in stand.replicas:
        replica.failing.add(bad)
    await stand.ask("POST", "/v1/adapters/bot/canary", json={"version": 2, "weight": 50})
    answers = [await stand.chat(**{"x-penstock-session": f"s{at}"}) for at in range(80)]
    assert 20 <= sum(answer.status_code == 500 for answer in answers) <= 60

    async def back() -> bool:
        shown = (await stand.ask("GET", "/v1/adapters/bot")).json()
        return shown["aliases"][0]["targets"] == [{"version": 1, "weight": 100.0}]

    await until(back)
    audit = (await stand.ask("GET", "/v1/adapters/bot/audit")).json()["data"][0]
    assert (audit["action"], audit["actor"]) == ("rollback", "penstock")
    evidence = audit["detail"]["evidence"]
    assert (evidence["quantity"], evidence["canary"]) == ("error_rate", 1.0)

    async def well() -> bool:  # the other gateway may have judged: this one follows within a moment
        return {(await stand.chat(**{"x-penstock-session": f"s{at}"})).status_code for at in range(20)} == {200}

    await until(well)


async def test_retire_takes_the_name_away_and_the_adapter_can_then_be_deleted(stand: Stand) -> None:
    await stand.push()
    await stand.promote(1)
    busy = await stand.ask("DELETE", "/v1/adapters/bot")
    assert (busy.status_code, busy.json()["error"]["code"]) == (400, "file_in_use")
    await stand.ask("POST", "/v1/adapters/bot/retire", json={})
    assert (await stand.chat()).status_code == 404

    async def unloaded() -> bool:
        return not any(replica.lora.names for replica in stand.replicas) and (await stand.states())[1] == "retired"

    await until(unloaded)
    assert (await stand.ask("DELETE", "/v1/adapters/bot")).status_code == 200
    assert (await stand.ask("GET", "/v1/adapters/bot")).status_code == 404
    pushed = await stand.push()
    assert pushed.json()["version"] == 1


async def test_two_pushes_of_one_adapter_at_once_are_one_version(stand: Stand) -> None:
    answers = await asyncio.gather(*(stand.push(7) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["model"] for answer in answers}) == 1
    shown = (await stand.ask("GET", "/v1/adapters/bot")).json()
    assert [version["state"] for version in shown["versions"]] == ["validated"]


async def test_every_broken_adapter_is_refused_with_its_reason_and_nothing_of_it_is_kept(
    stand: Stand, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    with zipfile.ZipFile(io.BytesIO(adapter_zip())) as archive:
        archive.extractall(good)
    bad = list(broken_adapters(good, count=100))
    assert len(bad) >= 50
    for name, content in bad:
        refused = await stand.ask(
            "POST",
            "/v1/adapters/bot/versions",
            content=content,
            params={"base": SMALL},
            headers={"content-type": "application/zip"},
        )
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], bool(error["param"])) == (400, "adapter_invalid", True), name
        assert str(tmp_path) not in refused.text
    assert list((tmp_path / "drafts").iterdir()) == []
    assert not (tmp_path / "artifacts" / "adapter").exists()
    assert set((await stand.states()).values()) == {"failed"}


async def test_a_bad_adapter_is_refused_with_its_reason_and_kept_as_failed(stand: Stand) -> None:
    headers = {"content-type": "application/zip"}
    for content in (b"not a zip", adapter_zip(use_dora=True)):
        refused = await stand.ask(
            "POST", "/v1/adapters/bot/versions", content=content, params={"base": SMALL}, headers=headers
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "adapter_invalid")
    shown = (await stand.ask("GET", "/v1/adapters/bot")).json()
    assert [version["state"] for version in shown["versions"]] == ["failed", "failed"]
    assert all(version["reason"] for version in shown["versions"])
    promoted = await stand.promote(1)
    assert promoted.status_code == 400


async def test_what_was_pushed_comes_back_as_it_was_checked(stand: Stand) -> None:
    pushed = (await stand.push(3)).json()
    content = await stand.ask("GET", "/v1/adapters/bot/versions/1/content")
    assert content.headers["content-type"] == "application/zip"
    again = await stand.ask(
        "POST",
        "/v1/adapters/other/versions",
        content=content.content,
        params={"base": SMALL},
        headers={"content-type": "application/zip"},
    )
    assert again.json()["digest"] == pushed["digest"]


async def test_what_was_made_for_an_older_revision_of_the_base_is_served_to_nobody_and_the_way_out_is_told(
    stand: Stand,
) -> None:
    await stand.push()
    await stand.promote(1)
    assert version_of(await stand.chat()) == "1"
    async with stand.store.adapters.changing() as change:  # as if the stack had come up with a newer base
        adapter = await change.adapter("acme", "bot")
        assert adapter is not None
        row = await change.version(adapter.id, 1)
        assert row is not None
        await change.put_version(replace(row, base_revision="0123456789abcdef"))

    async def retired() -> bool:
        return await stand.states() == {1: "retired"} and not any(replica.lora.names for replica in stand.replicas)

    await until(retired)
    assert (await stand.chat()).status_code == 404
    shown = (await stand.ask("GET", "/v1/adapters/bot/versions/1")).json()
    assert "made for revision 0123456789ab" in shown["reason"]
    refused = (await stand.promote(1)).json()["error"]
    assert refused["code"] == "adapter_invalid"
    assert "Train it again" in refused["message"]


async def test_a_replica_that_starts_has_what_is_live_before_anybody_asks(stand: Stand, tmp_path: Path) -> None:
    for seed in (1, 2):
        await stand.push(seed)
        await stand.promote(seed)
    url = stand.store.database.engine.url.render_as_string(hide_password=False)
    live = StoredLive(url, {SMALL: base().revision})
    artifacts = FolderSettings(path=tmp_path / "artifacts")
    async with opened_replica(tmp_path, 9, artifacts, live=live) as late:
        assert len(late.lora.names) == 2
        stand.directory.base_urls[SMALL] = [late.url]
        assert version_of(await stand.chat()) == "2"
        assert late.lora.added == [name for name in late.lora.added if name in late.lora.names]


async def test_a_call_that_fails_names_the_version_too(tmp_path: Path) -> None:
    async with opened_stand(tmp_path, gateways=1, replicas=1) as stand:
        await stand.push(1)
        await stand.promote(1)
        stand.directory.base_urls[SMALL] = []
        answer = await stand.chat()
        assert (answer.status_code, answer.headers["x-penstock-adapter-version"]) == (503, "1")

"""Router releases in SQL, and what records tell of decisions and conversations."""

import asyncio
from dataclasses import replace

import pytest

from serving.store.releases import ReleaseRow
from serving.store.store import Store
from serving.telemetry.record import CallRecord

FIRST = ReleaseRow("default", "learned", "promote", "aaa", 0.25, 5.0, share=0.35)
DECIDED = CallRecord(
    id="r",
    started_at=10.0,
    kind="chat",
    route_policy="learned",
    route_score=0.5,
    route_threshold=0.25,
    route_version="aaa",
    routed_tier="large",
    session="s",
    task="simple",
    retrieval=0.125,
    shadow={"version": "bbb", "score": 0.1, "threshold": 0.2, "tier": "small"},
)


async def test_the_newest_release_of_a_name_is_live_and_the_others_are_its_history(store: Store) -> None:
    assert await store.releases.live("default", "learned") is None
    first = await store.releases.add(FIRST, after=0)
    assert first is not None
    second = await store.releases.add(
        replace(FIRST, action="shadow", shadow="bbb", shadow_threshold=0.1), after=first.id
    )
    await store.releases.add(replace(FIRST, name="other"), after=0)
    assert await store.releases.live("default", "learned") == second
    assert await store.releases.history("default", "learned") == [second, first]


async def test_every_change_raises_the_mark_that_gateways_watch(store: Store) -> None:
    before = await store.releases.mark()
    await store.releases.add(FIRST, after=0)
    assert await store.releases.mark() == before + 1


async def test_of_two_changes_to_one_state_the_second_is_refused(store: Store) -> None:
    first = await store.releases.add(FIRST, after=0)
    assert first is not None
    both = [store.releases.add(replace(FIRST, version=version), after=first.id) for version in ("bbb", "ccc")]
    made = [row for row in await asyncio.gather(*both) if row is not None]
    assert len(made) == 1
    assert await store.releases.live("default", "learned") == made[0]
    assert await store.releases.add(FIRST, after=0) is None


async def test_a_conversation_has_the_tier_of_its_last_call(store: Store) -> None:
    await store.records.add([DECIDED, replace(DECIDED, uid="u2", started_at=20.0, routed_tier="small")])
    assert await store.records.tier_of_session("s", since=0.0) == "small"
    assert await store.records.tier_of_session("s", since=30.0) is None
    assert await store.records.tier_of_session("another", since=0.0) is None


async def test_decisions_are_those_of_one_version_and_policy_and_the_others_are_counted_by_cause(store: Store) -> None:
    defaulted = replace(DECIDED, uid="u2", started_at=20.0, route_version=None, route_cause="late", shadow=None)
    others = [replace(DECIDED, uid="u3", route_version="bbb"), replace(DECIDED, uid="u4", route_policy="knn")]
    named = CallRecord(id="r3", started_at=30.0, kind="chat", route_policy="model")
    newer = replace(DECIDED, uid="u5", started_at=40.0, route_score=0.75)
    await store.records.add([DECIDED, defaulted, *others, named, newer])
    found = await store.records.decisions("aaa", "learned", limit=10)
    assert [(one.started_at, one.route_score) for one in found] == [(40.0, 0.75), (10.0, 0.5)]
    assert found[1].shadow == DECIDED.shadow
    assert await store.records.scores("aaa", "learned", limit=1) == [0.75]
    assert await store.records.causes(since=0.0) == {None: 4, "late": 1}
    assert await store.records.causes(since=15.0) == {None: 1, "late": 1}


async def test_a_tier_that_nobody_chose_is_not_that_of_a_conversation(store: Store) -> None:
    await store.records.add([replace(DECIDED, route_cause="down")])
    assert await store.records.tier_of_session("s", since=0.0) is None


async def test_each_policy_has_releases_of_its_own(store: Store) -> None:
    await store.releases.add(FIRST, after=0)
    assert await store.releases.live("default", "knn") is None
    assert await store.releases.add(replace(FIRST, policy="knn"), after=0) is not None


@pytest.mark.parametrize("shadow", [None, {"version": "b"}])
async def test_a_decided_record_comes_back_field_by_field(store: Store, shadow: dict[str, str] | None) -> None:
    kept = replace(DECIDED, shadow=shadow)
    await store.records.add([kept])
    assert await store.records.find("r") == kept

"""Looking names up: who gets which version."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from models.errors import Unavailable
from models.types import GenerationRequest, Principal
from serving.adapters.book import AdapterBook, Name, page_of
from serving.store.adapters import AdapterRow, AliasRow, Snapshot, VersionRow
from serving.store.store import Store
from tests.serving.conftest import ManualClock

ADAPTER = AdapterRow("adp-1", "acme", "bot", "demo-small", "key", 1.0)
REVISION = "r" * 40
CALLER = Principal("key_1", "acme", "ann", "inference")


def version(number: int, state: str = "ready") -> VersionRow:
    return VersionRow("adp-1", number, state, "key", 1.0, 1.0, digest=f"{number:064x}", base_revision=REVISION)  # type: ignore[arg-type]


def snapshot(versions: Sequence[VersionRow], targets: tuple[tuple[int, float], ...]) -> Snapshot:
    alias = AliasRow("acme", "bot", "adp-1", targets, 1.0)
    return Snapshot(1, (ADAPTER,), tuple(versions), (alias,) if targets else ())


def request(model: str = "bot", session: str | None = None, **body: object) -> GenerationRequest:
    return GenerationRequest("r", "chat", model, body, False, False, "hi", 0.0, session=session)


def name(*targets: tuple[int, float]) -> Name:
    return page_of(snapshot([version(1), version(2)], targets)).names["acme", "bot"]


def test_2000_sessions_are_divided_by_weight_within_two_points() -> None:
    picked = [name((1, 90.0), (2, 10.0)).pick(f"session\0{at}").number for at in range(2000)]
    assert abs(picked.count(2) / 2000 - 0.10) <= 0.02


def test_a_growing_weight_takes_nobody_back() -> None:
    def canaries(weight: float) -> set[int]:
        divided = name((1, 100 - weight), (2, weight))
        return {at for at in range(2000) if divided.pick(f"session\0{at}").number == 2}

    assert canaries(5.0) < canaries(10.0) < canaries(50.0)


def test_only_the_part_that_tries_it_is_called_a_canary() -> None:
    cohorts = {(one.number, one.cohort) for one in (name((1, 50.0), (2, 50.0)).pick(str(at)) for at in range(100))}
    assert cohorts == {(1, "live"), (2, "canary")}


def test_an_alias_to_a_version_that_is_not_loaded_is_no_name() -> None:
    page = page_of(snapshot([version(1, "loading")], ((1, 100.0),)))
    assert page.names == {}
    assert page.loading == {("acme", "bot")}


async def test_the_session_comes_before_the_user_and_the_user_before_the_key(store: Store) -> None:
    book = AdapterBook(
        store.adapters,
        store.views,
        revisions={"demo-small": REVISION},
        gateway="g",
        heartbeat_s=1.0,
        clock=ManualClock(),
    )
    async with store.adapters.changing() as change:
        await change.put_adapter(ADAPTER)
        for number in (1, 2):
            await change.put_version(version(number))
        await change.put_alias(AliasRow("acme", "bot", "adp-1", ((1, 50.0), (2, 50.0)), 1.0))
    await book.refresh()

    def picks(request_: GenerationRequest) -> list[int]:
        keys = [replace(CALLER, key_id=f"key_{at}") for at in range(50)]
        return [found.number for found in (book.find(request_, key) for key in keys) if found is not None]

    assert len(set(picks(request(session="s")))) == 1
    assert len(set(picks(request(user="u")))) == 1
    assert set(picks(request())) == {1, 2}
    assert len({tuple(picks(request(session=f"s{at}"))) for at in range(20)}) == 2


async def test_what_is_loading_is_told_from_what_is_not_there(store: Store) -> None:
    book = AdapterBook(
        store.adapters,
        store.views,
        revisions={"demo-small": REVISION},
        gateway="g",
        heartbeat_s=1.0,
        clock=ManualClock(),
    )
    async with store.adapters.changing() as change:
        await change.put_adapter(ADAPTER)
        await change.put_version(version(1, "loading"))
    await book.refresh()
    assert book.find(request("other"), CALLER) is None
    assert book.find(request(), replace(CALLER, org="rival")) is None
    with pytest.raises(Unavailable):
        book.find(request(), CALLER)


async def test_a_gateway_tells_how_far_it_has_followed_until_it_ends(store: Store) -> None:
    clock = ManualClock()
    book = AdapterBook(
        store.adapters, store.views, revisions={"demo-small": REVISION}, gateway="g", heartbeat_s=1.0, clock=clock
    )
    async with book.open(refresh_s=60):
        async with store.adapters.changing() as change:
            await change.put_adapter(ADAPTER)
        mark = change.mark
        assert await store.views.behind("adapters", mark, since=clock.at - 5) == ["g"]
        assert await store.views.behind("adapters", mark, since=clock.at + 1) == []
        await book.refresh()
        assert await store.views.behind("adapters", mark, since=clock.at - 5) == []
        assert await store.views.alive("adapters", since=clock.at - 5) == {"g"}
    assert await store.views.alive("adapters", since=0) == set()


async def test_a_version_for_another_revision_of_the_base_is_no_name(store: Store) -> None:
    book = AdapterBook(
        store.adapters,
        store.views,
        revisions={"demo-small": "newer"},
        gateway="g",
        heartbeat_s=1.0,
        clock=ManualClock(),
    )
    async with store.adapters.changing() as change:
        await change.put_adapter(ADAPTER)
        await change.put_version(version(1))
        await change.put_alias(AliasRow("acme", "bot", "adp-1", ((1, 100.0),), 1.0))
    await book.refresh()
    assert book.find(request(), CALLER) is None
    assert not book.knows("bot", CALLER)

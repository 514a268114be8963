"""Two who do something to one adapter in the same moment: neither undoes what the other one said."""

import time
from collections.abc import Awaitable, Callable, Mapping

from models.clock import SystemClock
from serving.adapters.book import AdapterBook
from serving.adapters.canary import CanaryJudge, side_of
from serving.adapters.releases import Actor
from serving.store.adapters import AdapterTable, Snapshot
from serving.store.records import RecordTable
from serving.store.store import Store
from serving.telemetry.record import Trial
from tests.serving.adapters.stand import Stand
from tests.serving.adapters.third import releases_of

GOOD, BAD = Trial(2, "live", 200, None, 1.0, 10.0), Trial(3, "canary", 500, "engine_error", None, 10.0)


class Meanwhile(RecordTable):
    """Records of a canary, version 3, that is worse than version 2; while they are read, somebody does something."""

    def __init__(self, stand: Stand, act: Callable[[], Awaitable[object]]) -> None:
        super().__init__(stand.store.database)
        self._act = act

    async def trials(self, org: str, adapter: str, *, since: float, limit: int) -> list[Trial]:
        await self._act()
        return [GOOD] * 40 + [BAD] * 40


async def try_third(stand: Stand) -> None:
    """Version 1 was live before 2, and 3 is tried beside 2."""
    for seed in (1, 2, 3):
        await stand.push(seed)
    await stand.promote(1)
    await stand.promote(2)
    await stand.ask("POST", "/v1/adapters/bot/canary", json={"version": 3, "weight": 10})


async def targets(stand: Stand) -> list[int]:
    return [one["version"] for one in (await stand.ask("GET", "/v1/aliases/bot")).json()["targets"]]


async def judged(stand: Stand, act: Callable[[], Awaitable[object]]) -> None:
    """A look at the trial, in the middle of which somebody acts."""
    async with releases_of(stand) as releases:
        judge = CanaryJudge(stand.store.adapters, Meanwhile(stand, act), releases=releases, clock=SystemClock())
        await judge.look()


async def test_a_canary_that_is_promoted_while_it_is_judged_stays_live(stand: Stand) -> None:
    await try_third(stand)
    await judged(stand, lambda: stand.promote(3))
    assert await targets(stand) == [3]


async def test_a_canary_that_somebody_else_ends_while_it_is_judged_does_not_take_the_live_version_along(
    stand: Stand,
) -> None:
    await try_third(stand)
    await judged(stand, lambda: stand.ask("POST", "/v1/adapters/bot/rollback", json={}))
    assert await targets(stand) == [2]


async def test_a_trial_that_begins_anew_while_the_old_one_is_judged_goes_on(stand: Stand) -> None:
    await try_third(stand)
    again = {"version": 3, "weight": 10, "bounds": {"error_rate": 1}}
    await judged(stand, lambda: stand.ask("POST", "/v1/adapters/bot/canary", json=again))
    assert await targets(stand) == [2, 3]


async def test_a_canary_that_is_worse_and_left_alone_goes_back_with_its_evidence(stand: Stand) -> None:
    await try_third(stand)
    await judged(stand, lambda: stand.states())
    assert await targets(stand) == [2]
    last = (await stand.ask("GET", "/v1/adapters/bot/audit")).json()["data"][0]
    assert (last["action"], last["actor"], last["detail"]["evidence"]["quantity"]) == (
        "rollback",
        "penstock",
        "error_rate",
    )


def test_the_records_of_a_trial_are_counted_in_time_that_grows_with_their_number_alone() -> None:
    trials = [Trial(2, "live", 200 if at % 2 else 503, None, 1.0, float(at)) for at in range(5000)]
    began = time.process_time()
    side = side_of(trials, 2)
    assert (side.calls, side.failed, len(side.latencies_ms)) == (5000, 2500, 2500)
    assert time.process_time() - began < 0.25


async def test_another_weight_keeps_the_bounds_of_a_trial(stand: Stand) -> None:
    await try_third(stand)
    wish = {"version": 3, "weight": 10, "bounds": {"error_rate": 0.5}}
    await stand.ask("POST", "/v1/adapters/bot/canary", json=wish)
    more = (await stand.ask("POST", "/v1/adapters/bot/canary", json={"version": 3, "weight": 20})).json()
    assert (more["canary"]["bounds"], more["targets"][1]["weight"]) == ({"error_rate": 0.5}, 20)


async def test_an_alias_that_gets_another_weight_is_not_taken_through_a_moment_without_its_canary(stand: Stand) -> None:
    await try_third(stand)
    before = await stand.store.adapters.mark()
    wish = {"adapter": "bot", "targets": [{"version": 2, "weight": 80}, {"version": 3, "weight": 20}]}
    answer = await stand.ask("PUT", "/v1/aliases/bot", json=wish)
    assert [one["weight"] for one in answer.json()["targets"]] == [80, 20]
    assert await stand.store.adapters.mark() == before + 2  # what is tried is claimed, then pointed to
    wish["targets"] = [{"version": 3, "weight": 50}, {"version": 3, "weight": 50}]
    assert (await stand.ask("PUT", "/v1/aliases/bot", json=wish)).status_code == 400
    assert await targets(stand) == [2, 3]


async def test_a_gateway_that_serves_and_does_not_reach_the_database_is_told(stand: Stand) -> None:
    await try_third(stand)
    for serving, waiting in ((2, 0), (3, 1)):
        async with releases_of(stand, gateways=serving) as releases:
            released = await releases.promote(Actor("acme", "key"), "bot", number=1)
            assert len(released.waiting) == waiting


class Watched(AdapterTable):
    """Notes which gateways a release waits for while rows are read."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.database)
        self._views = store.views
        self.waited_for: list[list[str]] = []

    async def snapshot(self, revisions: Mapping[str, str] | None = None) -> Snapshot:
        self.waited_for.append(await self._views.behind("adapters", 10**6, since=0))
        return await super().snapshot(revisions)


async def test_a_release_waits_for_a_gateway_that_is_reading_its_first_page(stand: Stand) -> None:
    await try_third(stand)
    table = Watched(stand.store)
    book = AdapterBook(table, stand.store.views, revisions={}, gateway="new", heartbeat_s=1, clock=SystemClock())
    async with book.open(refresh_s=60):
        assert "new" in table.waited_for[0]

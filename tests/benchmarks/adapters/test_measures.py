"""The four measures, on a stack that counts by the book."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from benchmarks.adapters import release, resolve, throughput, zipf
from benchmarks.adapters.registry import Fleet, Registry, Totals, opened
from benchmarks.calls import Address, Call
from models.catalog import Catalog
from models.errors import ConfigurationError, InvalidKey, Unavailable
from tests.benchmarks.adapters.fleet_stack import KEY, FleetStack

CARD = Catalog.load(None).card("demo-small")
NAMES = tuple(f"adapter-{number:04}" for number in range(1, 21))


def silent(*_: object) -> None:
    """Nobody listens."""


def on(stack: FleetStack, work: Callable[[Registry], Awaitable[Any]], key: str = KEY) -> Any:
    async def go() -> Any:
        async with opened(Address(stack.url, "", key)) as registry:
            return await work(registry)

    return asyncio.run(go())


def address(stack: FleetStack) -> Address:
    return Address(stack.url, "adapter-*", KEY, "chat", NAMES)


def test_missing_adapters_of_a_fleet_are_pushed_and_promoted_and_the_others_left_alone(
    fleet_stack: FleetStack,
) -> None:
    fleet_stack.live.add("adapter-0002")
    heard: list[tuple[int, int]] = []
    made = on(fleet_stack, lambda registry: Fleet(CARD, 5, 1, 7).live(registry, lambda *at: heard.append(at)))
    assert made == 4
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert fleet_stack.live == set(NAMES[:5])
    assert "adapter-0002" not in fleet_stack.pushed
    assert len(set(fleet_stack.pushed.values())) == 4


def test_a_key_that_is_refused_is_told(fleet_stack: FleetStack) -> None:
    with pytest.raises(InvalidKey, match="no such key"):
        on(fleet_stack, lambda registry: registry.names(), key="other")


def test_calls_of_adapters_and_of_the_base_are_told_apart_by_their_time(fleet_stack: FleetStack) -> None:
    fleet_stack.live |= set(NAMES)
    order = resolve.ResolveOrder(address(fleet_stack), "demo-small", NAMES, 4, 1)
    heard: list[None] = []
    found = asyncio.run(resolve.measure(order, records=lambda _: fleet_stack.records, heard=lambda: heard.append(None)))
    assert len(heard) == 40
    arms = found["arms"]
    assert [(arms[arm]["calls"], arms[arm]["p99_ms"]["median"]) for arm in ("base", "adapters")] == [
        (20, pytest.approx(0.04)),
        (20, pytest.approx(0.05)),
    ]
    asked = [seen.body["model"] for seen in fleet_stack.engine.seen]
    assert sorted(name for name in asked if name != "demo-small") == sorted(NAMES)
    assert "Met: 0.050 ms" in resolve.markdown(found)


def test_a_block_without_records_is_no_figure() -> None:
    blocks = [resolve.Block("base", 0, 1), resolve.Block("adapters", 1, 2)]
    records = [{"started_at": 0.5, "stages_ms": {"route": 0.1}}]
    with pytest.raises(Unavailable, match="no record"):
        resolve.figures(blocks, records, seed=1)


def test_a_percentile_of_blocks_is_that_of_all_values_and_lies_in_its_interval() -> None:
    found = resolve.quantile([[1.0, 2.0], [3.0, 4.0], [5.0]], 50, seed=1)
    assert (found.median, found.count) == (3.0, 3)
    assert 1.0 <= found.low <= 3.0 <= found.high <= 5.0


def test_a_releases_own_time_is_what_the_gateway_waited_less_what_the_engine_worked(fleet_stack: FleetStack) -> None:
    order = release.ReleaseOrder(CARD, 3, 1, 1)
    found = on(fleet_stack, lambda registry: release.measure(order, registry, heard=silent))
    parts = {name: value["median"] for name, value in found["parts"].items()}
    assert (parts["engine_ms"], parts["own_ms"], parts["fetched_ms"], parts["rest_ms"]) == (8, 7, 2, 5)
    assert (found["replicas"], len(found["each"]), fleet_stack.versions["release-bench"]) == (2, 4, 4)
    assert fleet_stack.retired == ["release-bench"]
    assert "Missed: 7.0 ms" in release.markdown(found)


def test_an_older_stack_or_a_gateway_that_lags_makes_no_figure(fleet_stack: FleetStack) -> None:
    order = release.ReleaseOrder(CARD, 2, 1, 1)
    fleet_stack.waiting = ["g2"]
    with pytest.raises(Unavailable, match="g2"):
        on(fleet_stack, lambda registry: release.measure(order, registry, heard=silent))
    assert fleet_stack.retired == ["release-bench"]
    with pytest.raises(ConfigurationError, match="told_ms"):
        release.parts([{"replica": "a", "loaded_ms": 1, "warmed_ms": 1}], wall_ms=9)


@pytest.fixture
def zipf_order(fleet_stack: FleetStack) -> zipf.ZipfOrder:
    fleet_stack.live |= set(NAMES)
    return zipf.ZipfOrder(address(fleet_stack), 2, 150, 20, 1, 2, 1.0, 5, {})


def test_hits_are_counted_by_the_engines_in_both_arms(fleet_stack: FleetStack, zipf_order: zipf.ZipfOrder) -> None:
    switched: list[bool] = []

    async def switch(affinity: bool) -> None:
        switched.append(affinity)
        fleet_stack.affinity = affinity

    heard: list[Call] = []
    found = on(fleet_stack, lambda registry: zipf.measure(zipf_order, registry, switch=switch, heard=heard.append))
    assert switched == [True, False, False, True]
    assert len(heard) == 4 * 170
    own, spread = found["arms"][zipf.ON], found["arms"][zipf.OFF]
    assert (own["requests"], spread["requests"], own["failed"]) == (300, 300, 0)
    assert (own["gathered"]["median"], spread["gathered"]["median"] < 0.8) == (1.0, True)
    assert own["hit_rate"]["median"] > spread["hit_rate"]["median"] > 0
    assert found["ratio"]["median"] > 1
    assert (found["replicas"], found["slots"]) == (2, 2)
    assert "| own replica | " in zipf.markdown(found)


def test_a_round_without_an_answer_is_told(fleet_stack: FleetStack, zipf_order: zipf.ZipfOrder) -> None:
    async def switch(_: bool) -> None:
        fleet_stack.live.clear()

    with pytest.raises(Unavailable, match="No call was answered"):
        on(fleet_stack, lambda registry: zipf.measure(zipf_order, registry, switch=switch, heard=silent))


def test_counters_that_fall_or_another_number_of_replicas_end_a_round() -> None:
    before = Totals(10, 5, 1, 2, 8)
    assert Totals(30, 10, 1, 2, 8).since(before).hit_rate == 0.75
    for after in (Totals(30, 4, 1, 2, 8), Totals(30, 10, 1, 3, 8)):
        with pytest.raises(Unavailable, match="came or went"):
            after.since(before)


def test_the_slowest_adapter_is_the_one_whose_calls_waited_longest() -> None:
    calls = [Call(0, sent_s=0, chunks_s=[wait], asked_model=name) for name, wait in (("a", 1.0), ("b", 3.0))]
    assert zipf.slowest_p99(calls) == pytest.approx(3000)


def test_every_arm_has_its_turn_in_every_round_and_its_ratio_to_the_engine_without_lora(
    fleet_stack: FleetStack,
) -> None:
    fleet_stack.live |= set(NAMES[:4])
    asked = Address(fleet_stack.url, "adapter-*", KEY, "chat", NAMES[:4])
    order = throughput.ThroughputOrder(asked, "demo-small", "plain", (1, 2), 2, 12, 4, 1, {"temperature": 0})
    heard: list[Call] = []
    found = asyncio.run(throughput.measure(order, heard=heard.append))
    assert len(heard) == 2 * 2 * 4 * 12
    models = {seen.body["model"] for seen in fleet_stack.engine.seen}
    assert models == {"demo-small", "plain", *NAMES[:4]}
    assert {block["arm"] for block in found["blocks"][:4]} == set(throughput.ARMS)
    assert [block["arm"] for block in found["blocks"]][8] == throughput.ADAPTERS  # another first one in round two
    assert found["points"][0]["arms"][throughput.PLAIN]["of_plain"]["median"] == 1
    assert found["points"][1]["arms"][throughput.ADAPTERS]["tokens_per_s"]["median"] > 0
    assert "| 2 | 4 active adapters | " in throughput.markdown(found)


def test_a_block_with_an_error_makes_no_figure(fleet_stack: FleetStack) -> None:
    asked = Address(fleet_stack.url, "adapter-*", "other", "chat", NAMES[:4])
    order = throughput.ThroughputOrder(asked, "demo-small", "plain", (1,), 1, 4, 4, 1, {})
    with pytest.raises(Unavailable, match="status 401"):
        asyncio.run(throughput.measure(order, heard=silent))

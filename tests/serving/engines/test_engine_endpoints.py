"""The picker and its breaker alone, on a clock that the test owns."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from serving.engines.breaker import Breaker
from serving.engines.endpoints import ROOM, Latency, ReplicaPicker, Slot, home
from serving.testing import StaticDirectory


class HandClock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Fleet:
    """A picker over replicas named by letters."""

    def __init__(self, letters: str, *, affinity: bool = True) -> None:
        self.clock = HandClock()
        self.directory = StaticDirectory({"small": list(letters)})
        chance = random.Random(7)
        self.picker = ReplicaPicker(self.directory, affinity=affinity, clock=self.clock, chance=chance)

    def take(self, tried: str = "", *, streamed: bool = True) -> Slot | None:
        return self.picker.take("small", streamed=streamed, tried=tried)

    def slot(self, tried: str = "") -> Slot:
        slot = self.take(tried)
        assert slot is not None
        return slot

    def names(self, count: int = 40) -> set[str]:
        return {self.slot().endpoint.replica for _ in range(count)}

    def fail(self, replica: str, times: int = 1) -> None:
        others = "".join(set(self.directory.base_urls["small"]) - {replica})
        for _ in range(times):
            with self.slot(tried=others) as slot:
                slot.failed("engine_error")


def test_equal_replicas_share_the_requests() -> None:
    fleet = Fleet("abc")
    taken = [fleet.slot().__enter__() for _ in range(30)]
    counts = [state.in_flight for state in fleet.picker.states()["small"].values()]
    assert sum(counts) == fleet.picker.in_flight == 30
    assert max(counts) - min(counts) <= 3
    for slot in taken:
        slot.__exit__(None, None, None)
    assert fleet.picker.in_flight == 0


def test_a_slot_is_given_back_once_also_when_its_request_fails() -> None:
    fleet = Fleet("a")
    slot = fleet.slot()
    with suppress(RuntimeError), slot:
        assert fleet.picker.in_flight == 1
        raise RuntimeError
    slot.__exit__(None, None, None)
    assert fleet.picker.in_flight == 0


@pytest.mark.parametrize("affinity", [True, False])
def test_a_versions_calls_go_to_one_replica_unless_affinity_is_off(affinity: bool) -> None:
    fleet = Fleet("abcd", affinity=affinity)
    slots = [fleet.picker.take("small", streamed=True, adapter="bot@1") for _ in range(40)]
    assert len({slot.endpoint.replica for slot in slots if slot is not None}) == (1 if affinity else 4)


def test_a_versions_replica_keeps_its_calls_until_it_has_its_room_and_more_than_its_share() -> None:
    pool = StaticDirectory({"small": list("abcd")}).endpoints("small")
    own = [endpoint.replica for endpoint in pool].index(home("bot@1", pool, in_flight=[0] * 4).replica)

    def stays(running: int, *, others: int) -> bool:
        return home("bot@1", pool, in_flight=[running if at == own else others for at in range(4)]) == pool[own]

    assert stays(ROOM - 1, others=0)
    assert not stays(ROOM, others=0)
    assert stays(12, others=10)
    assert not stays(16, others=10)


def test_a_replica_already_tried_is_not_taken_again() -> None:
    fleet = Fleet("ab")
    assert {fleet.slot(tried="a").endpoint.replica for _ in range(20)} == {"b"}
    assert fleet.take(tried="ab") is None


def test_a_card_without_replicas_has_no_slot() -> None:
    assert Fleet("a").picker.take("unknown", streamed=True) is None


def test_a_suspect_is_tried_last_for_a_while() -> None:
    fleet = Fleet("ab")
    fleet.fail("a")
    assert fleet.names() == {"b"}
    assert fleet.slot(tried="b").endpoint.replica == "a"
    fleet.clock.time += 10.1
    assert fleet.names() == {"a", "b"}


def test_a_slow_replica_gets_its_share_by_latency_and_is_tried_again_when_that_has_faded() -> None:
    fleet = Fleet("ab")
    fleet.slot(tried="b").alive(5.0)
    fleet.slot(tried="a").alive(0.05)
    assert fleet.names() == {"b"}
    busy = [fleet.slot(tried="a").__enter__() for _ in range(120)]
    assert fleet.slot().endpoint.replica == "a", "a queue of 120 × 50 ms is longer than 5 s"
    for slot in busy:
        slot.__exit__(None, None, None)
    fleet.clock.time += 130
    assert fleet.names() == {"a", "b"}


def test_a_new_replica_gets_its_share_and_not_everything_until_its_first_answer() -> None:
    fleet = Fleet("ab")
    fleet.slot(tried="b").alive(0.05)
    taken = [fleet.slot().__enter__() for _ in range(10)]
    assert sorted(slot.endpoint.replica for slot in taken) == ["a"] * 5 + ["b"] * 5


def test_whole_bodies_and_streams_have_their_own_latencies() -> None:
    fleet = Fleet("ab")
    slot = fleet.take(tried="b", streamed=False)
    assert slot is not None
    slot.alive(5.0)
    assert fleet.names() == {"a", "b"}


def test_a_breaker_that_opens_is_logged_with_its_replica() -> None:
    fleet = Fleet("a")
    with capture_logs() as lines:
        fleet.fail("a", times=5)
    (line,) = lines
    assert (line["event"], line["replica"], line["failures"]) == ("breaker_opened", "a", 5)
    assert fleet.take() is None
    assert fleet.picker.states()["small"]["a"].breaker.opened == 1


def test_an_open_breaker_lets_one_probe_through_and_closes_on_its_first_event() -> None:
    fleet = Fleet("a")
    fleet.fail("a", times=5)
    fleet.clock.time += 10.1
    with fleet.slot() as probe:
        assert fleet.take() is None
        probe.alive(0.1)
        assert fleet.take() is not None
    fleet.fail("a")
    assert fleet.take() is None, "a probe that closed the breaker does not forget the failures"


def test_a_probe_that_ends_without_a_verdict_makes_room_for_the_next() -> None:
    fleet = Fleet("a")
    fleet.fail("a", times=5)
    fleet.clock.time += 10.1
    with fleet.slot():
        assert fleet.take() is None
    assert fleet.take() is not None


def test_a_complete_answer_forgets_the_failures() -> None:
    breaker = Breaker(limit=3, pause_s=1)
    for now in range(10):
        assert not breaker.failed(now)
        assert not breaker.failed(now)
        breaker.succeeded()
    assert breaker.admits(10)
    assert breaker.opened == 0


def test_late_failures_do_not_lengthen_the_pause() -> None:
    breaker = Breaker(limit=1, pause_s=10)
    assert breaker.failed(0)
    assert not breaker.failed(9)
    assert breaker.admits(10)


def test_a_replica_that_left_the_directory_is_forgotten_when_its_last_request_ends() -> None:
    fleet = Fleet("ab")
    slot = fleet.slot(tried="b").__enter__()
    fleet.directory.base_urls["small"] = ["b"]
    fleet.slot()
    assert fleet.picker.in_flight == 1
    slot.__exit__(None, None, None)
    fleet.slot()
    assert fleet.picker.states()["small"].keys() == {"b"}


def test_latency_is_an_average_that_fades() -> None:
    latency = Latency(half_life_s=10)
    latency.observe(1.0, now=5)
    assert latency.value(5) == 1.0
    latency.observe(2.0, now=5)
    assert latency.value(5) == pytest.approx(1.3)
    assert latency.value(15) == pytest.approx(0.65)
    assert latency.value(1000) == 0.001

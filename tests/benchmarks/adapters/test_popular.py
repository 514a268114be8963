"""What slots can reach under a popularity."""

import pytest

from benchmarks.adapters.popular import LruSlots, hit_rate

ZIPF = [1 / rank for rank in range(1, 1001)]


def test_the_name_that_was_used_longest_ago_gives_up_its_slot() -> None:
    slots = LruSlots(2)
    assert [slots.hit(name) for name in (1, 2, 1, 3, 1, 2)] == [False, False, True, False, True, False]


def test_own_replicas_reach_more_the_more_there_are_and_any_replica_does_not() -> None:
    own = [hit_rate(ZIPF, replicas=count, slots=8, own=True, seed=1) for count in (1, 2, 8)]
    spread = [hit_rate(ZIPF, replicas=count, slots=8, own=False, seed=1) for count in (1, 2, 8)]
    assert own[0] < own[1] < own[2]
    assert spread == pytest.approx([own[0]] * 3, abs=0.02)
    assert own[1] / spread[1] < 2 < own[2] / spread[2]


def test_slots_for_every_name_miss_only_the_first_time() -> None:
    assert hit_rate([1] * 4, replicas=1, slots=4, own=True, seed=1) > 0.999

"""Slots of a key."""

import pytest

from models.errors import InvalidRequest, RateLimited
from models.types import Principal
from serving.tenancy.concurrency import KeyConcurrency


def caller(concurrency: int | None, key: str = "key_1") -> Principal:
    return Principal(key, "acme", "ann", "inference", concurrency=concurrency)


def test_a_key_at_its_limit_is_told_to_come_back_in_a_second() -> None:
    slots = KeyConcurrency()
    with slots.hold(caller(2)), slots.hold(caller(2)):
        with pytest.raises(RateLimited) as refused, slots.hold(caller(2)):
            pass
        assert (refused.value.code, refused.value.retry_after_s) == ("rate_limit_exceeded", 1)
        with slots.hold(caller(2, key="key_2")):
            assert slots.running("key_1") == 2


def test_a_call_counts_by_its_generations() -> None:
    slots = KeyConcurrency()
    with slots.hold(caller(4)) as widen:
        widen(3)
        assert slots.running("key_1") == 3
        with slots.hold(caller(4)) as other:
            with pytest.raises(RateLimited):
                other(2)
            assert slots.running("key_1") == 4
        with pytest.raises(InvalidRequest) as refused:
            widen(5)
        assert refused.value.param == "n"
        assert slots.running("key_1") == 3
    assert slots.running("key_1") == 0


def test_a_call_of_the_whole_limit_runs_alone_on_one_of_several_gateways() -> None:
    slots = KeyConcurrency(gateways=lambda: 2)
    with slots.hold(caller(4)) as widen:
        widen(4)
        with pytest.raises(RateLimited), slots.hold(caller(4)):
            pass
    with slots.hold(caller(4)), slots.hold(caller(4)) as widen, pytest.raises(RateLimited):
        widen(2)


def test_a_slot_comes_back_however_the_call_ends() -> None:
    slots = KeyConcurrency()
    with pytest.raises(ZeroDivisionError), slots.hold(caller(1)):
        raise ZeroDivisionError
    with slots.hold(caller(1)):
        assert slots.running("key_1") == 1
    assert slots.running("key_1") == 0


def test_a_key_without_a_limit_is_never_refused() -> None:
    slots = KeyConcurrency()
    holds = [slots.hold(caller(None)) for _ in range(1000)]
    for hold in holds:
        hold.__enter__()
    assert slots.running("key_1") == 1000


@pytest.mark.parametrize(("limit", "gateways", "share"), [(4, 2, 2), (5, 2, 3), (1, 4, 1)])
def test_gateways_share_a_limit_and_none_is_left_without_a_slot(limit: int, gateways: int, share: int) -> None:
    slots = KeyConcurrency(gateways=lambda: gateways)
    holds = [slots.hold(caller(limit)) for _ in range(share)]
    for hold in holds:
        hold.__enter__()
    with pytest.raises(RateLimited), slots.hold(caller(limit)):
        pass


def test_a_gateway_that_is_left_alone_gives_the_whole_limit() -> None:
    alive = [3]
    slots = KeyConcurrency(gateways=lambda: alive[0])
    with slots.hold(caller(3)):
        with pytest.raises(RateLimited), slots.hold(caller(3)):
            pass
        alive[0] = 1
        with slots.hold(caller(3)), slots.hold(caller(3)):
            assert slots.running("key_1") == 3

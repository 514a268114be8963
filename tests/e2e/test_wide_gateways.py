"""A conversation over two gateways: its tier, once risen, holds whichever of them answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.e2e.conftest import Stack, listeners
from tests.e2e.test_learned_router import EASY, HARD, ask, record, route, tier

CONVERSATIONS = 5


@pytest.fixture
def gateways(wide: Stack) -> tuple[Stack, Stack]:
    """The two gateways, each as if it were alone."""
    first, second = listeners(wide)
    return replace(wide, url=first), replace(wide, url=second)


@pytest.mark.timeout(300)
def test_a_tier_that_rose_at_one_gateway_holds_at_the_other(gateways: tuple[Stack, Stack]) -> None:
    for number in range(CONVERSATIONS):
        here, there = gateways if number % 2 else reversed(gateways)
        session = f"over-two-{number}"
        opened = ask(there, EASY, session=session)  # it knows the conversation, and as a small one
        record(there, opened)
        risen = ask(here, HARD, session=session)
        record(here, risen)  # behind by design: what is not written yet, the other gateway cannot read
        followed = ask(there, EASY, session=session)
        assert [tier(answer) for answer in (opened, risen, followed)] == ["small", "large", "large"]
        assert "the conversation is on large" in route(followed)
        assert tier(ask(here, EASY, session=session)) == "large"


def test_another_conversation_is_small_at_either_gateway(gateways: tuple[Stack, Stack]) -> None:
    assert [tier(ask(one, EASY, session="over-two-easy")) for one in gateways] == ["small", "small"]

"""A conversation over two gateways: its tier, once risen, holds whichever of them answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from serving.deploy.environment import listeners_of
from serving.deploy.stack import scratch_of
from serving.state import StateDir
from tests.e2e.conftest import Stack
from tests.e2e.processes import wait_until
from tests.e2e.profiles import changed_profile
from tests.e2e.test_learned_router import EASY, HARD, ask, record, route, tier

CONVERSATIONS = 5
TOLD_WITHIN_S = 60


def told(stack: Stack) -> list[str]:
    """Where each gateway listens itself, behind HAProxy."""
    folder = listeners_of(scratch_of(StateDir(stack.state_dir)))
    return [f"http://127.0.0.1:{file.read_text()}" for file in sorted(folder.iterdir()) if file.suffix != ".new"]


@pytest.fixture(scope="module")
def gateways(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Stack]]:
    """The session's stack with two gateways, each as if it were alone; it has one again afterwards."""
    two = changed_profile(tmp_path_factory.mktemp("profile"), {}, gateway={"replicas": 2})
    try:
        stack.run("up", "--profile", str(two), "--detach", "--json")
        wait_until(lambda: len(told(stack)) == 2, limit_s=TOLD_WITHIN_S)
        first, second = told(stack)
        yield replace(stack, url=first), replace(stack, url=second)
    finally:
        stack.run("up", "--profile", "cpu-demo", "--detach", "--json")
        wait_until(lambda: len(told(stack)) == 1, limit_s=TOLD_WITHIN_S)


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

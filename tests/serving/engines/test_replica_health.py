"""The health of an engine replica, on a fake engine: no vLLM engine runs, and no time passes."""

import asyncio
import os
import warnings
from types import SimpleNamespace

import pytest

from tests.serving.engines.hurried import run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of Ray and of vLLM, at import
    from serving.engines.replica import LAST_WORDS_S, PROBE_TIMEOUT_S, EngineReplica

CONTROLLERS_PATIENCE_S = 20  # `health_check_timeout_s` of every deployment (serving/deploy/applications.py)


class FakeClient:
    """vLLM's client as far as health goes: alive, hung, or dead from the given look on."""

    def __init__(self, *, hung: bool = False, dead: bool = False, dies_at_look: int | None = None) -> None:
        self._hung, self._dead = hung, dead
        self._left = dies_at_look

    @property
    def errored(self) -> bool:
        if self._left is None:
            return self._dead
        self._left -= 1
        return self._left <= 0

    async def check_health(self) -> None:
        if self._dead:
            raise RuntimeError("EngineCore encountered an issue")

    async def is_sleeping(self) -> bool:
        if self._hung:
            await asyncio.Event().wait()
        return False


class BareReplica(EngineReplica):
    """A replica around a fake, without the processes that start and end a real one."""

    def __init__(self, client: FakeClient) -> None:
        self._replica = SimpleNamespace(card="demo")
        self._door = SimpleNamespace(closing=False)
        self.engine = SimpleNamespace(_engine_client=client, check_health=client.check_health)

    def __del__(self) -> None:
        """Serve is not here to await the real one."""


def test_an_engine_that_answers_is_healthy() -> None:
    assert run(BareReplica(FakeClient()).check_health()) < 1


def test_an_engine_that_hangs_is_unhealthy_before_the_controller_gives_up_asking() -> None:
    async def probe() -> None:
        with pytest.raises(TimeoutError):
            await BareReplica(FakeClient(hung=True)).check_health()

    assert PROBE_TIMEOUT_S <= run(probe()) < CONTROLLERS_PATIENCE_S


def test_an_engine_that_knows_it_is_dead_says_so_itself() -> None:
    with pytest.raises(RuntimeError, match="EngineCore encountered an issue"):
        run(BareReplica(FakeClient(dead=True)).check_health())


class Exited(Exception):
    """The process would be gone."""


def test_a_replica_ends_with_its_engine_once_the_last_words_are_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr(os, "_exit", leave)
    replica = BareReplica(FakeClient(dies_at_look=4))

    async def watch() -> None:
        with pytest.raises(Exited, match="1"):
            await replica._exit_with_engine()

    assert LAST_WORDS_S <= run(watch()) < LAST_WORDS_S + 2
    assert replica._door.closing, "a new request would have gone to a dead engine"


def test_a_replica_with_a_living_engine_stays() -> None:
    replica = BareReplica(FakeClient())

    async def watch() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(replica._exit_with_engine(), timeout=600)

    assert run(watch()) >= 600
    assert not replica._door.closing

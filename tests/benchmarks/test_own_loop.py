"""Ctrl-C at any moment of a measurement's event loop is a `KeyboardInterrupt`, and nothing else."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvloop

from benchmarks.own_loop import in_own_loop


class StruckLoop(uvloop.Loop):
    """A loop that is hit by a signal as it is opened or closed."""

    def __init__(self, number: int, *, when: str) -> None:
        super().__init__()
        self._number, self._when = number, when
        if when == "opened":
            signal.raise_signal(number)

    def close(self) -> None:
        if self._when == "closed":
            signal.raise_signal(self._number)
        super().close()


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def one() -> int:
    await asyncio.sleep(0)
    return 1


@pytest.fixture
def terminable() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("terminable")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("when", "work"), [("opened", wait_for_ever), ("closed", one)])
def test_a_signal_at_a_loops_begin_or_end_is_raised_once_it_is_closed(
    number: int, when: str, work: Callable[[], Coroutine[Any, Any, object]]
) -> None:
    loops: list[StruckLoop] = []

    def opened() -> StruckLoop:
        loops.append(StruckLoop(number, when=when))
        return loops[0]

    with pytest.raises(KeyboardInterrupt):
        in_own_loop(work(), loop_factory=opened)
    assert [loop.is_closed() for loop in loops] == [True]
    assert signal.getsignal(number) is signal.default_int_handler


@pytest.mark.usefixtures("terminable")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_what_runs_and_lets_it_tidy_up(number: int) -> None:
    tidied = []

    async def work() -> None:
        asyncio.get_running_loop().call_later(0.01, signal.raise_signal, number)
        try:
            await wait_for_ever()
        finally:
            await asyncio.sleep(0)
            tidied.append(True)

    with pytest.raises(KeyboardInterrupt):
        in_own_loop(work())
    assert tidied == [True]


@pytest.mark.usefixtures("terminable")
def test_what_is_told_twice_of_one_end_lets_the_work_tidy_up() -> None:
    tidied = []

    async def work() -> None:
        signal.raise_signal(signal.SIGTERM)
        try:
            await wait_for_ever()
        finally:
            signal.raise_signal(signal.SIGTERM)
            tidied.append(True)

    with pytest.raises(KeyboardInterrupt):
        in_own_loop(work())
    assert tidied == [True]


def test_a_second_ctrl_c_ends_what_does_not_end_by_itself() -> None:
    async def stubborn() -> None:
        while True:
            asyncio.get_running_loop().call_later(0.01, signal.raise_signal, signal.SIGINT)
            with suppress(asyncio.CancelledError):
                await wait_for_ever()

    with pytest.raises(KeyboardInterrupt):
        in_own_loop(stubborn())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_a_signal_the_works_end_is_its_own() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def failed() -> None:
        raise ValueError("its own")

    assert in_own_loop(one()) == 1
    with pytest.raises(asyncio.CancelledError):
        in_own_loop(cancelled())
    with pytest.raises(ValueError, match="its own"):
        in_own_loop(failed())

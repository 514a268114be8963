"""SIGTERM and a closed terminal end a command as Ctrl-C does, at any moment of an event loop too."""

import asyncio
import signal
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from benchmarks.own_loop import in_own_loop
from serving.commands.interruption import interruptible

Run = Callable[[Coroutine[Any, Any, None]], None]

ENDING = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(params=ENDING)
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """The signal; Ctrl-C is heard, whatever the shell that runs the tests has made of it."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield request.param
    signal.signal(signal.SIGINT, inherited)


class Passing:
    """Something whose end is watched, as that of a task is."""


async def struck_where_errors_are_lost(number: signal.Signals, *, tidied: list[bool]) -> None:
    passing = Passing()
    watched = weakref.ref(passing, lambda _: signal.raise_signal(number))
    try:
        del passing
        assert watched() is None
        await asyncio.sleep(10)
    finally:
        await asyncio.sleep(0)
        tidied.append(True)


def test_outside_a_loop_it_is_raised_where_it_strikes(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in ENDING]
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)
    assert [signal.getsignal(one) for one in ENDING] == before


@pytest.mark.parametrize("run", [asyncio.run, in_own_loop])
def test_inside_a_loop_it_cancels_the_work_wherever_it_strikes(number: signal.Signals, run: Run) -> None:
    tidied: list[bool] = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        run(struck_where_errors_are_lost(number, tidied=tidied))
    assert tidied == [True]


def test_a_closed_terminal_that_is_told_twice_lets_a_measurement_tidy_up(number: signal.Signals) -> None:
    async def told_twice() -> None:
        signal.raise_signal(number)
        await struck_where_errors_are_lost(number, tidied=tidied)

    tidied: list[bool] = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        in_own_loop(told_twice())
    assert tidied == [True]


def test_where_ctrl_c_is_ignored_the_others_still_end_a_measurement(number: signal.Signals) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tidied: list[bool] = []
    with pytest.raises(KeyboardInterrupt), interruptible():
        in_own_loop(struck_where_errors_are_lost(number, tidied=tidied))
    assert tidied == [True]
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)

"""The client's thread goes ahead of the servers where it may, and is as before afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from benchmarks.priority import ahead

ASK = "import os; print(os.sched_getscheduler(0))"


def permitted() -> bool:
    """Whether this machine lets the test have real-time priority."""
    with ahead() as got:
        return got == "real-time"


@pytest.mark.skipif(not permitted(), reason="real-time priority is not permitted here")
def test_the_thread_is_real_time_inside_and_as_before_afterwards() -> None:
    before = os.sched_getscheduler(0)
    with ahead() as got:
        assert got == "real-time"
        assert os.sched_getscheduler(0) == os.SCHED_RR | os.SCHED_RESET_ON_FORK
        child = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert int(child.stdout) == os.SCHED_OTHER
    assert os.sched_getscheduler(0) == before


def test_without_permission_it_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(_: int, policy: int, __: Any) -> None:
        asked.append(policy)
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with ahead() as got:
        assert got == "normal"
    assert asked == [os.SCHED_RR | os.SCHED_RESET_ON_FORK]


def test_a_flag_that_may_not_be_taken_back_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def limited(_: int, policy: int, __: Any) -> None:
        asked.append(policy)
        if not policy & os.SCHED_RESET_ON_FORK:
            raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", limited)
    with ahead() as got:
        assert got == "real-time"
    assert asked[1:] == [os.SCHED_OTHER, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK]

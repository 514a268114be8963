"""The client's place on the processor: before everything else, where the kernel allows it.

A client that shares its cores with the servers it measures waits for them like any other process, and its own lateness
would count as theirs. As a real-time thread it wakes at once, as on a machine of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Priority = Literal["real-time", "normal"]
LOWEST = 1


@contextmanager
def ahead() -> Iterator[Priority]:
    """Put the calling thread before all others inside the block; yields "normal" where that is not permitted.

    Needs root, CAP_SYS_NICE or an `rtprio` limit. Nothing that is started in the block inherits it.
    """
    try:
        policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(LOWEST))
    except (AttributeError, OSError):  # not permitted, or not of this system
        yield "normal"
        return
    try:
        yield "real-time"
    finally:
        try:
            os.sched_setscheduler(0, policy, parameters)
        except PermissionError:  # with an rtprio limit alone the flag stays, for which nothing is left to do
            os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, parameters)

"""The process that asks Ray Serve to end the stack, streams first: `python -m serving.deploy.retire ADDRESS`.

`--joined` behind the address: the cluster is not ours, and Serve goes on there. Edge file: imports Ray. Ends no process
itself (`node.py`).
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from ray import serve

from serving.deploy.applications import APPLICATION
from serving.tuning.ray_trainers import end_all

POLL_S = 0.5
REMOVING = "Removing what was started from the cluster"


@contextmanager
def as_found(running: Any, *, report: Callable[[str], None]) -> Iterator[None]:
    """For a cluster that is not ours: an application of ours that was not there before does not survive a failure.

    The failure stays the news: neither a second signal nor an end that fails as well takes its place.
    """
    there = APPLICATION in running.status().applications
    try:
        yield
    except BaseException:
        if not there:
            before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # who does not want to wait has SIGKILL
            with suppress(Exception):
                running.delete(APPLICATION, _blocking=False)
                report(REMOVING)
                _wait_until_gone(running)
                end_all()
            signal.signal(signal.SIGTERM, before)
        raise


def retire(address: str, *, joined: bool) -> None:
    """Connect, and end what is ours there."""
    ray.init(address=address, namespace="serve", log_to_driver=False, configure_logging=False)
    if not joined or APPLICATION in serve.status().applications:  # else an earlier `down` was the last word
        end(serve, joined=joined)
    end_all()  # after the gateways, which would start others; also those that an earlier `down` left


def end(running: Any, *, joined: bool) -> None:
    """Delete our application and wait until every replica has drained; then Serve too, unless it is the cluster's.

    `running` is the module `ray.serve`. Its own wait ends after 60 s, and what follows would cut the longer streams.
    """
    running.delete(APPLICATION, _blocking=False)
    _wait_until_gone(running)
    if not joined:
        running.shutdown()


def _wait_until_gone(running: Any) -> None:
    while APPLICATION in running.status().applications:
        time.sleep(POLL_S)


if __name__ == "__main__":
    retire(sys.argv[1], joined="--joined" in sys.argv[2:])

"""The process that asks Ray Serve to end the stack, streams first: `python -m serving.deploy.retire ADDRESS`.

`--joined` behind the address: the cluster is not ours, and Serve goes on there. Edge file: imports Ray. Ends no process
itself (`node.py`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve

from serving.deploy.applications import APPLICATION

POLL_S = 0.5


@contextmanager
def as_found(running: Any) -> Iterator[None]:
    """For a cluster that is not ours: an application of ours that was not there before does not survive a failure."""
    there = APPLICATION in running.status().applications
    try:
        yield
    except BaseException:
        if not there:
            end(running, joined=True)
        raise


def retire(address: str, *, joined: bool) -> None:
    """Connect, and end what is ours there."""
    ray.init(address=address, namespace="serve", log_to_driver=False, configure_logging=False)
    if not joined or APPLICATION in serve.status().applications:  # else an earlier `down` was the last word
        end(serve, joined=joined)


def end(running: Any, *, joined: bool) -> None:
    """Delete our application and wait until every replica has drained; then Serve too, unless it is the cluster's.

    `running` is the module `ray.serve`. Its own wait ends after 60 s, and what follows would cut the longer streams.
    """
    running.delete(APPLICATION, _blocking=False)
    while APPLICATION in running.status().applications:
        time.sleep(POLL_S)
    if not joined:
        running.shutdown()


if __name__ == "__main__":
    retire(sys.argv[1], joined="--joined" in sys.argv[2:])

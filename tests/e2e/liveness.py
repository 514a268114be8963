"""How long `/health` takes while it is asked all the time, from a process that does nothing else.

This file, run as a program with an address and seconds, is that process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

Waits = list[tuple[float, float]]


@asynccontextmanager
async def watching(url: str, *, seconds: float) -> AsyncIterator[asyncio.Task[Waits]]:
    """From the first answer on: the task gives when each call began and ended (monotonic)."""
    command = (sys.executable, __file__, f"{url}/health", str(seconds))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    found = asyncio.create_task(_told(process))
    try:
        yield found
    finally:
        await found


async def _told(process: asyncio.subprocess.Process) -> Waits:
    told, _ = await process.communicate()
    return [(begun, ended) for begun, ended in json.loads(told)]


def _watch(url: str, seconds: float) -> None:
    waits, ends = [], float("inf")
    with httpx2.Client(timeout=60) as client:
        while time.monotonic() < ends:
            begun = time.monotonic()
            assert client.get(url).status_code == 200
            waits.append((begun, time.monotonic()))
            if len(waits) == 1:
                sys.stdout.write("begun\n")
                sys.stdout.flush()
                ends = time.monotonic() + seconds
            time.sleep(0.05)
    sys.stdout.write(json.dumps(waits))


if __name__ == "__main__":
    _watch(sys.argv[1], float(sys.argv[2]))

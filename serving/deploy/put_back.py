"""What a stopped stack leaves of its trainings: jobs in the queue, whose workers were ended because somebody wanted it.

Owns that a wanted stop counts as no lost worker. Ends no worker (`retire.py`, `node.py`); what its last start was told
says where the jobs are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from models.clock import SystemClock
from models.errors import PenstockError
from serving.store.jobs import JobTable
from serving.store.store import Store
from serving.tuning.moves import Moves

COUNTED = ("losses", "checkpoint")
"""What of a job's earlier workers goes on to count."""


def put_back(order: Path, *, report: Callable[[str], None]) -> None:
    """Queue what was in training, now that no worker lives. `order`: what the stack was last started with. What cannot
    be queued counts as lost at the next start: that ends no `down`.
    """
    try:
        url = json.loads(order.read_text())["store_url"]
        asyncio.run(_opened(url))
    except FileNotFoundError:
        return  # nothing was ever started
    except (OSError, ValueError, KeyError, PenstockError) as error:
        report(f"Jobs in training could not be queued again: {error}")


async def _opened(url: str) -> None:
    async with Store.open(url) as store:
        await queued_again(store.jobs, moves=Moves(store.jobs, clock=SystemClock()))


async def queued_again(table: JobTable, *, moves: Moves) -> None:
    """Every job in training, as one whose worker was ended on purpose. What its owner wanted of it stays wanted."""
    for job in await table.in_status("running"):
        if job.phase == "training":
            worker = {name: value for name, value in (job.worker or {}).items() if name in COUNTED}
            said = "The stack is stopped: the job waits for the next start, and goes on at its last checkpoint."
            await moves(job, said=said, status="queued", phase="waiting", worker=worker)

"""What workers that were killed have left on this machine: lines of training files, and drafts of checkpoints.

Owns whose folder may go. A worker that ends by itself takes its own away (`worker.py`).
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from serving.store.jobs import JobTable


async def without_leftovers(work: Path, jobs: JobTable) -> list[str]:
    """Remove the folders of jobs that nobody trains, of those in `work`; their names, sorted."""
    gone = []
    for name in await asyncio.to_thread(_names, work):
        row = await jobs.find(name)
        if row is None or row.status != "running":
            await asyncio.to_thread(shutil.rmtree, work / name, ignore_errors=True)
            gone.append(name)
    return gone


def _names(work: Path) -> list[str]:
    return sorted(path.name for path in work.iterdir()) if work.is_dir() else []

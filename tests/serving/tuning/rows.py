"""Rows of fine-tuning for tests: files without bytes, and jobs as a coordinator would move them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from serving.store.files import FileRow
from serving.store.jobs import EventRow, JobRow
from serving.store.store import Store


async def put_file(store: Store, name: str = "file-train", *, org: str = "acme", **values: Any) -> str:
    """A checked file of an org."""
    facts = {"format": values.pop("format", "chat"), "examples": values.pop("examples", 200)}
    row = FileRow(name, org, f"{name}.jsonl", "fine-tune", 10, "d" * 64, "key", 1.0, facts)
    await store.files.put(replace(row, **values))
    return name


async def move(store: Store, job: str, *, say: str | None = None, **values: Any) -> JobRow:
    """Change a job's row."""
    async with store.jobs.changing() as change:
        row = await change.find(job)
        assert row is not None
        row = replace(row, **values)
        await change.put(row)
        if say is not None:
            await change.tell(EventRow(job, 2.0, say))
    return row

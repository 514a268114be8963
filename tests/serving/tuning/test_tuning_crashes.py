"""A gateway that dies at each named point of a job's way: another one takes the job to the same end."""

import asyncio
import sys
from pathlib import Path

import pytest

from models.crash import EXIT_CODE
from serving.store.jobs import JobRow
from tests.serving.adapters.stand import opened_gateway
from tests.serving.tuning.yard import Yard, opened_yard, tuned_parts, url_of

POINTS = (
    "tuning.claimed",
    "tuning.started",
    "tuning.pushed",
    "tuning.figures_kept",
    "tuning.judged",
    "tuning.named",
    "tuning.released",
    "adapters.published",
    "adapters.claimed",
    "adapters.before_flip",
)


async def died(yard: Yard, crash_at: str) -> int:
    """A gateway that is told to die there; its exit code."""
    replicas = [replica.url for replica in yard.stand.replicas]
    arguments = ["-m", "tests.serving.tuning.tuning_crash", str(yard.folder), url_of(yard.stand), crash_at, *replicas]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        return await asyncio.wait_for(process.wait(), 90)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("point", POINTS)
async def test_a_job_ends_well_when_its_gateway_dies_on_the_way(tmp_path: Path, point: str) -> None:
    async with opened_yard(tmp_path, gateways=0) as yard:
        await yard.created(steps=10)
        assert await died(yard, point) == EXIT_CODE
        parts = tuned_parts(tmp_path, yard.stand.directory, yard.trainers, url=url_of(yard.stand), gateway="g0")
        async with opened_gateway(parts) as address:
            yard.stand.urls.append(address)
            row = await yard.until(ended, within_s=90)
            assert (row.status, row.error) == ("succeeded", None)
            shown = (await yard.stand.ask("GET", f"/v1/adapters/{row.adapter}")).json()
            usable = [one["version"] for one in shown["versions"] if one["state"] != "failed"]
            assert usable == [row.adapter_version]
            kept = (await yard.stand.ask("GET", "/v1/files", params={"purpose": "fine-tune-results"})).json()["data"]
            assert [file["id"] for file in kept] == list(row.result_files)
            answer = await yard.stand.chat(str(row.fine_tuned_model))
            assert answer.headers["x-penstock-adapter-version"] == str(row.adapter_version)


def ended(row: JobRow) -> bool:
    return row.finished_at is not None

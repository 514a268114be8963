"""A gateway in a process of its own that ends at a named crash point."""

import asyncio
import sys
from pathlib import Path

from serving.testing import StaticDirectory
from serving.tuning.trainers import ProcessTrainers
from tests.serving.adapters.stand import SMALL, opened_gateway
from tests.serving.tuning.yard import tuned_parts


async def main(folder: str, url: str, crash_at: str, *replicas: str) -> None:
    """Move jobs until the crash."""
    workers = ProcessTrainers(Path(folder) / "trainers")
    directory = StaticDirectory({SMALL: list(replicas)})
    parts = tuned_parts(Path(folder), directory, workers, url=url, gateway="crashing", crash_at=crash_at)
    async with opened_gateway(parts):
        await asyncio.sleep(120)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

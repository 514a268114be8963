"""A gateway in a process of its own that ends at a named crash point: `python -m tests.serving.adapters.crashing …`."""

import asyncio
import sys
from pathlib import Path

from serving.testing import StaticDirectory
from tests.serving.adapters.stand import SMALL, opened_gateway, parts_of, settings_of


async def main(folder: str, url: str, crash_at: str, *replicas: str) -> None:
    """Serve until the crash, or until stdin ends."""
    settings = settings_of(Path(folder), gone_s=1.0)
    directory = StaticDirectory({SMALL: list(replicas)})
    parts = parts_of(Path(folder), settings, directory, url=url, gateway="crashing", crash_at=crash_at)
    async with opened_gateway(parts) as address:
        sys.stdout.write(address + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

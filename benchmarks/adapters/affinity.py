"""Switching a stack between calls that go to an adapter's own replica and calls that go to any. Owns no figure.

`penstock up` with the setting in its environment changes the gateways one by one; the engines run on, with all that
lies in their slots.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.arms.penstock import COMMAND
from models.errors import ConfigurationError

SETTING = "PENSTOCK__ADAPTERS__AFFINITY"


@dataclass(frozen=True, slots=True)
class CommandSwitch:
    """Switches with the command line, on the stack of a state folder that was started with this profile."""

    profile: str
    state_dir: Path
    url: str
    command: tuple[str, ...] = (COMMAND, "up", "--detach", "--json")

    async def __call__(self, affinity: bool) -> None:
        """Raises `ConfigurationError` with the command's last words."""
        where = ("--profile", self.profile, "--port", str(urlsplit(self.url).port), "--state-dir", str(self.state_dir))
        process = await asyncio.create_subprocess_exec(
            *("env", f"{SETTING}={str(affinity).lower()}", *self.command, *where),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        if process.returncode:
            words = said.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
            raise ConfigurationError(f"The gateways could not be changed: {words[0]}")

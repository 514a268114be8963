"""Moving the large tier's share of a running stack, and knowing when it has moved. Owns no figure.

The command that moves it is `penstock router set-threshold`. Gateways take a new threshold over on their own; each
answer's route names the one that it was held against, so a few answers tell when it is live.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arms.penstock import COMMAND
from benchmarks.quality.answers import Asker, NoAnswer
from models.errors import ConfigurationError

PROBE = "Hello"
AGREEING = 6
"""Answers in a row that name the new threshold: each gateway has been asked by then, or most likely so."""
LIVE_LIMIT_S = 30.0
EVERY_S = 0.25
THRESHOLD = re.compile(r"[<≥≤>]=?\s*(-?\d+(?:\.\d+)?)")

SetShare = Callable[[float], Awaitable[None]]
"""Makes a stack send this share (0…1) of `auto` to the large tier, from some moment on; raises `PenstockError`."""


@dataclass(frozen=True, slots=True)
class CommandShare:
    """Sets a share with the command line, on the stack of a state folder."""

    state_dir: Path
    command: tuple[str, ...] = (COMMAND, "router", "set-threshold")

    async def __call__(self, share: float) -> None:
        """Raises `ConfigurationError` with the command's last words."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            *("--large-share", str(share), "--state-dir", str(self.state_dir)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        if process.returncode:
            words = said.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
            raise ConfigurationError(f"The share {share:.0%} could not be set: {words[0]}")


async def move(asker: Asker, share: float, *, set_share: SetShare, limit_s: float = LIVE_LIMIT_S) -> bool:
    """Set a share and wait until answers name another threshold than before; False where none did within the limit.

    That happens where the new threshold reads the same as the old one.
    """
    before = await threshold(asker)
    await set_share(share)
    end, agreed = time.monotonic() + limit_s, 0
    while agreed < AGREEING:
        if time.monotonic() > end:
            return False
        now = await threshold(asker)
        agreed = agreed + 1 if now not in (None, before) else 0
        await asyncio.sleep(0 if agreed else EVERY_S)
    return True


async def threshold(asker: Asker) -> str | None:
    """The threshold that a route names now, as it is written there; None where it names none, or no answer came."""
    try:
        found = THRESHOLD.search((await asker.ask("auto", PROBE)).route or "")
    except NoAnswer:
        return None
    return None if found is None else found[1]

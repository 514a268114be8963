"""Named places where a test may end the process, as a power cut would: nothing is flushed, nothing is cleaned up.

`PENSTOCK_CRASH_AT` names one; without it a crash point costs one comparison. Owns the hook, not the names.
"""

from __future__ import annotations

import os

CRASH_AT = "PENSTOCK_CRASH_AT"
EXIT_CODE = 86


class CrashPoints:
    """The crash points of one process. `armed`: the name of the one at which it ends."""

    def __init__(self, armed: str | None) -> None:
        self._armed = armed

    def reach(self, name: str) -> None:
        """End the process here if this point is armed."""
        if name == self._armed:
            os._exit(EXIT_CODE)

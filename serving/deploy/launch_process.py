"""Watching the launch process of one `up`: its progress is passed on, its last words become the error, and it never
outlives the command that holds the lock. What it does is `launch.py`'s business.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from models.errors import PenstockError

Report = Callable[[str], None]

GRACE_S = 5.0


class LaunchFailed(PenstockError):
    """The stack did not come up; `detail` holds the last lines of what failed."""

    default_code = "launch_failed"


def run_launch(
    command: Sequence[str], environment: Mapping[str, str], *, log: Path, report: Report, grace_s: float = GRACE_S
) -> None:
    """Return when the process has launched everything; whatever interrupts us ends it first."""
    failure: LaunchFailed | None = None
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                failure = _heard(line, report) or failure
        except BaseException:
            _end(process, grace_s)
            raise
    if failure is not None:
        raise failure
    if process.returncode != 0:
        raise LaunchFailed("The stack did not start.", detail=log.read_text(errors="replace")[-1500:])


def _heard(line: str, report: Report) -> LaunchFailed | None:
    if not line.startswith("{"):
        return None
    event = json.loads(line)
    if event["event"] == "failed":
        return LaunchFailed(event["text"], detail="\n".join(event["log"]))
    report(event["text"])
    return None


def _end(process: subprocess.Popen[str], grace_s: float) -> None:
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=grace_s)
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait()

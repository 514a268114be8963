"""A server process of an arm: started with a log of its own, waited for over HTTP, ended with all its descendants.

Ends processes by their id alone. Does not know what it runs.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx2
import psutil

from benchmarks.arms import ArmFailed, Target
from benchmarks.processes import descendants

START_LIMIT_S = 420
POLL_S = 0.5
GRACE_S = 20.0
LOG_LINES = 15


class Child:
    """One process and everything below it."""

    def __init__(self, arm: str, log: Path) -> None:
        self._arm = arm
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> psutil.Process | None:
        """The process itself, while it lives."""
        if self._process is None or self._process.poll() is not None:
            return None
        return psutil.Process(self._process.pid)

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it where its log lies; its output goes there.

        Not where the command was given: a folder `models` or `serving` there would be imported in place of ours.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._log.parent,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until(self, answers: Callable[[], bool], *, limit_s: float = START_LIMIT_S) -> None:
        """Return when it answers; raise `ArmFailed` with the log's end when it dies first or takes too long."""
        deadline = time.monotonic() + limit_s
        while not answers():
            if self.root is None:
                raise ArmFailed(self._arm, "its process ended", log=tail(self._log))
            if time.monotonic() > deadline:
                raise ArmFailed(self._arm, f"no answer within {limit_s:.0f} s", log=tail(self._log))
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Ask the process to end, then end it and everything that was below it."""
        if self._process is None:
            return
        below = descendants(self.root) if self.root is not None else []
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_S)
        self._process.kill()
        self._process.wait()
        _, left = psutil.wait_procs(below, timeout=1)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)


def serves(target: Target) -> bool:
    """Whether a completion comes back: the whole way, not a port that is open."""
    body = {"model": target.model, "prompt": "ready", "max_tokens": 2}
    headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
    with suppress(httpx2.HTTPError):
        answer = httpx2.post(f"{target.url}/v1/completions", json=body, headers=headers, timeout=60)
        return answer.status_code == 200
    return False


def scraped(target: Target) -> str | None:
    """The text of `/metrics`; None when there is none."""
    headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
    with suppress(httpx2.HTTPError):
        answer = httpx2.get(f"{target.url}/metrics", headers=headers, timeout=30)
        return answer.text if answer.status_code == 200 else None
    return None


def tail(log: Path, lines: int = LOG_LINES) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else ""

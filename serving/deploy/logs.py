"""The log files of a stack under names that people know, and what stays of them when the stack ends.

Ray's session lies in the scratch folder, because its sockets need a short path, and its log files go with it. A worker
process writes `worker-<id>-<job>-<pid>.out|err` (an engine's processes write into those of their replica); the first
lines tell what it became. What a replica logs through Serve, the gateway's line per call among it, is in
`serve/replica_<application>_<deployment>_<id>.log`. Reads and copies files; imports no Ray.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving.state import StateDir, is_private

SESSION = Path("ray", "session_latest", "logs")
HEAD_BYTES = 4096  # a worker names its actor before the actor's own code runs
KEPT_BYTES = 4 * 2**20
MOST_KEPT = 100  # of an engine that fails for hours, every try has files of its own

_WORKER = re.compile(r"worker-.+-(\d+)\.(?:out|err)")
_SERVE = re.compile(r"(?:replica_[^_]+_)?(.+)_([^_]+)\.log")
_ACTOR = re.compile(r"^:actor_name:(?:ServeReplica:[^:\n]+:)?(.+)$", re.M)
_NOTE = re.compile(r":(?:job_id|actor_name|task_name):")
_BEFORE_JSON = re.compile(r"^[A-Z]+ \S+ \S+ \S+ \S+ (?:\S+ )?-- (?=\{)")


@dataclass(frozen=True, slots=True)
class SessionLog:
    """A file of Ray's session. `owner`: a card, `gateway` or another actor; `process`: its pid, or the replica's id."""

    owner: str
    process: str
    path: Path

    @property
    def name(self) -> str:
        """What people call it: `gateway-ab12cd34`, `demo-small-4711.out`."""
        return f"{self.owner}-{self.process}{self.path.suffix.removesuffix('.log')}"


def stack_logs(state: StateDir, scratch: Path) -> dict[str, Path]:
    """Name → file: those of the start, and those of the session in `scratch`, or of the last run when there is none."""
    files = {path.stem: path for path in state.logs.glob("*.log")}
    running = {log.name: log.path for log in session_logs(scratch)}
    return files | (running or {path.stem: path for path in _found(state.last_run, "*.log")})


def session_logs(scratch: Path) -> list[SessionLog]:
    """What the actors of the session write, in order of their names; nothing where the folder is not ours alone."""
    if not is_private(scratch):
        return []
    folder = scratch / SESSION
    found = [
        *(
            SessionLog(_owner(path), match[1], path)
            for path in _found(folder, "worker-*")
            if (match := _WORKER.fullmatch(path.name))
        ),
        *(
            SessionLog(match[1], match[2], path)
            for kind in ("replica", "controller")
            for path in _found(folder / "serve", f"{kind}_*.log")
            if (match := _SERVE.fullmatch(path.name))
        ),
    ]
    return sorted(found, key=lambda log: log.name)


def keep_logs(scratch: Path, folder: Path, *, most_bytes: int = KEPT_BYTES) -> None:
    """Copy the end of every file of the session into `folder`, in place of what was kept there before."""
    found = sorted(session_logs(scratch), key=lambda log: log.path.stat().st_mtime)[-MOST_KEPT:]
    if not found:
        return
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)
    for log in found:
        copy = folder / f"{log.name}.log"
        copy.touch(mode=0o600)
        copy.write_bytes(tail(log.path, most_bytes))


def tail(path: Path, most_bytes: int) -> bytes:
    """The last whole lines of a file of any size; nothing of one that has gone."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        start = max(0, path.stat().st_size - most_bytes)
        file.seek(start)
        text = file.read()
        return text[text.find(b"\n") + 1 :] if start else text
    return b""


def readable(lines: Iterable[str]) -> Iterator[str]:
    """The lines for people: without Ray's notes to itself, and a structured line without Serve's words before it."""
    for line in lines:
        if line.strip() and not _NOTE.match(line):
            yield _BEFORE_JSON.sub("", line)


def _found(folder: Path, pattern: str) -> list[Path]:
    """What is called so; nothing in a folder that goes while it is read, which `glob` does not bear."""
    with suppress(FileNotFoundError):
        return list(folder.glob(pattern))
    return []


def _owner(path: Path) -> str:
    with suppress(FileNotFoundError), path.open("rb") as file:
        if found := _ACTOR.search(file.read(HEAD_BYTES).decode(errors="replace")):
            return found[1]
    return "worker"

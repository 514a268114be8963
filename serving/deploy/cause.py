"""Why a replica did not come up, in the words of what failed: vLLM's own error before Serve's traceback around it.

Serve's text of a failed start ends with what the replica's process saw, which often says no more than "see root cause
above": the cause is in the output of the engine process, which shares the replica's files. Reads text; imports no Ray.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from serving.deploy.logs import SessionLog, tail

OUTPUT_BYTES = 256 * 2**10
LAST_LINES = 8
LONGEST_LINE = 500
LONGEST_ERROR = 6  # lines: a validation error says what is wrong behind its first one
SERVES_LINES = 15

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PROCESS = re.compile(r"^\(\S+(?: \S+)* pid=\d+\) ")
_RECORD = re.compile(r"^(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]+\] ")
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)(?:: |$)")
_ELSEWHERE = re.compile(r"root cause|Traceback \(most recent call last\)")
_TRACE = re.compile(r"^(?:\s|Traceback \(most recent call last\)|During handling of|The above exception was)")


def cause_of(owner: str, reason: str, *, logs: Sequence[SessionLog]) -> list[str]:
    """The error's own lines, then what the replica of `owner` wrote last. `reason` is Serve's text of the failure."""
    outputs = [_lines(log) for log in _of_the_failed(owner, reason, logs=logs)]
    told = [_error(lines) for lines in (*outputs, reason.splitlines())]
    error = next((found for found in told if found), None) or _plain(reason.splitlines())[-SERVES_LINES:]
    records = [line for lines in outputs for line in _records(lines)]
    return [line[:LONGEST_LINE] for line in (*error, *records[-LAST_LINES:])]


def _of_the_failed(owner: str, reason: str, *, logs: Sequence[SessionLog]) -> list[SessionLog]:
    """The files of the process that Serve names, else of the youngest: what vLLM logs (`.out`), then the rest."""
    own = [log for log in logs if log.owner == owner and log.path.suffix in (".out", ".err")]
    named = [log for log in own if log.process in re.findall(r"\bpid=(\d+)", reason)]
    if not named and own:
        youngest = max(own, key=lambda log: log.path.stat().st_mtime)
        named = [log for log in own if log.process == youngest.process]
    return sorted(named, key=lambda log: log.path.suffix, reverse=True)


def _lines(log: SessionLog) -> list[str]:
    text = tail(log.path, OUTPUT_BYTES).decode(errors="replace")
    return [_PROCESS.sub("", _COLOUR.sub("", line)) for line in text.splitlines()]


def _error(lines: Sequence[str]) -> list[str]:
    """The last error that is one itself and does not point at another, with the indented lines that belong to it."""
    bare = [_RECORD.sub("", line) for line in lines]
    found = [at for at, line in enumerate(bare) if _ERROR.match(line) and not _ELSEWHERE.search(line)]
    if not found:
        return []
    block = [bare[found[-1]]]
    for line in bare[found[-1] + 1 : found[-1] + LONGEST_ERROR]:
        if not line.startswith(" ") or not line.strip():
            break
        block.append(line)
    return block


def _records(lines: Sequence[str]) -> list[str]:
    """vLLM's log lines, without the traceback that it logs line by line."""
    return [
        line
        for line in lines
        if (match := _RECORD.match(line)) and _plain([rest := line[match.end() :]]) and not _ERROR.match(rest)
    ]


def _plain(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line.strip() and not _TRACE.match(line)]

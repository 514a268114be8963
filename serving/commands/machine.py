"""What `penstock doctor` looks at: the facts of this machine, read once. No judgement here (`checkup.py`)."""

from __future__ import annotations

import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")
GPU_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True, slots=True)
class Machine:
    """Sizes in bytes. `installed` maps normalised distribution names to versions."""

    python: tuple[int, int]
    system: str
    cores: int
    memory: int
    memory_free: int
    disk_free: int
    shared_memory_free: int
    gpus: tuple[str, ...]
    installed: dict[str, str]


def this_machine(folder: Path) -> Machine:
    """The facts, with the disk that holds `folder` (which need not be there yet)."""
    memory = psutil.virtual_memory()
    return Machine(
        python=sys.version_info[:2],
        system=f"{platform.system()} {platform.machine()}",
        cores=len(psutil.Process().cpu_affinity()),
        memory=memory.total,
        memory_free=memory.available,
        disk_free=shutil.disk_usage(_existing(folder)).free,
        shared_memory_free=shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.exists() else 0,
        gpus=_gpus(),
        # The first on the path is the one that is imported: setuptools appends a folder of its own copies.
        installed={normal(found.metadata["Name"]): found.version for found in reversed(list(distributions()))},
    )


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return name.lower().replace("_", "-").replace(".", "-")


def is_listening(host: str, port: int) -> bool:
    """Whether somebody holds this address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _gpus() -> tuple[str, ...]:
    """`NVIDIA L4, 23034 MiB`, one per GPU; none without a driver that answers."""
    try:
        answer = subprocess.run(GPU_QUERY, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(f"{line.strip()} MiB" for line in answer.stdout.splitlines() if line.strip())

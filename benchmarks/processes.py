"""What the kernel knows of a live engine: its processes, where they may run, what they were started with, what they
logged.

Owns reading /proc (through psutil). Does not start or end anything, and does not know which arm it looks at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

CORE, WORKER = "VLLM::EngineCore", "VLLM::Worker"
READ_VARIABLES = re.compile(r"^(OMP_|GOMP_|KMP_|MKL_|VLLM_(?!NO_USAGE)|LD_PRELOAD$)")

THREADS_AND_MEMORY = re.compile(r"/lib(gomp|iomp5|omp|tcmalloc|jemalloc|mkl_rt|tbb)[^/]*$")


@dataclass(frozen=True, slots=True)
class EngineProcesses:
    """One engine: the process that schedules, and those that compute, which may be the same one."""

    core: psutil.Process
    workers: tuple[psutil.Process, ...]


def title(process: psutil.Process) -> str:
    """The command line or the title that a process gave itself; empty when it is gone."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def named(process: psutil.Process) -> str:
    """The name of the program that a process runs; empty when it is gone."""
    with suppress(psutil.Error):
        return str(process.name())
    return ""


def titled(processes: Iterable[psutil.Process], start: str) -> list[psutil.Process]:
    """Those whose title starts so."""
    return [process for process in processes if title(process).startswith(start)]


def descendants(root: psutil.Process) -> list[psutil.Process]:
    """Every living process below one, at any depth."""
    with suppress(psutil.NoSuchProcess):
        return list(root.children(recursive=True))
    return []


def engine_below(root: psutil.Process) -> EngineProcesses | None:
    """The one engine below a process; None when there is none, or more than one to choose from."""
    cores = titled([root, *descendants(root)], CORE)
    if len(cores) != 1:
        return None
    return EngineProcesses(cores[0], tuple(titled(descendants(cores[0]), WORKER)) or (cores[0],))


def allowed_cores(process: psutil.Process) -> str:
    """Where the threads of a process may run, as the kernel writes it; several when they differ."""
    return "; ".join(sorted(set(_allowed(process.pid))))


def variables(process: psutil.Process) -> dict[str, str]:
    """The variables of a process's environment that change how an engine computes.

    Empty where the process has written its title over them: read with `libraries` and `allowed_cores`, which it cannot.
    """
    return {name: value for name, value in sorted(process.environ().items()) if READ_VARIABLES.match(name)}


def libraries(process: psutil.Process) -> tuple[str, ...]:
    """The thread and memory libraries that a process has mapped, by file name."""
    paths = {mapped.path for mapped in process.memory_maps() if THREADS_AND_MEMORY.search(mapped.path)}
    return tuple(sorted(Path(path).name for path in paths))


def scheduling_group(process: psutil.Process) -> str:
    """The group with which the kernel shares out the cores: one per session, where it does so; else empty."""
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/autogroup").read_text().strip()
    return ""


def log_texts(process: psutil.Process) -> list[str]:
    """What the files hold that a process's stdout and stderr go to."""
    targets = {(Path("/proc") / str(process.pid) / "fd" / number).resolve() for number in ("1", "2")}
    return [target.read_text(errors="replace") for target in sorted(targets) if target.is_file()]


def _allowed(pid: int) -> Iterator[str]:
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):
            yield from re.findall(r"^Cpus_allowed_list:\s*(\S+)", status.read_text(), re.MULTILINE)

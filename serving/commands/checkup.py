"""What `penstock doctor` thinks of a machine: one finding per check, each with what to do. Pure but for files of cards.

Owns the limits below. Does not read the machine (`machine.py`) and does not start anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from models.catalog import Catalog, ModelStore
from models.errors import PenstockError
from serving.commands.machine import Machine, normal
from serving.fitting import free_gpus, require_fit, setups
from serving.settings import Settings
from serving.state import StateDir

Verdict = Literal["ok", "warning", "failure"]

GIB = 2**30
STACK_MEMORY = 2 * GIB
"""Ray, HAProxy and one gateway, seen on a machine without a GPU."""
ENGINE_MEMORY = int(1.5 * GIB)
"""One engine process of vLLM's CPU build before weights and KV cache; a GPU engine needs more of the same order."""
DISK_NEEDED = 2 * GIB
PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)\s*(;?)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` is the next step when it is not ok."""

    name: str
    verdict: Verdict
    fact: str
    advice: str = ""


def machine_findings(machine: Machine) -> Iterator[Finding]:
    """What any stack needs."""
    version, cores = ".".join(str(part) for part in machine.python), str(machine.cores)
    yield _unless(
        (3, 11) <= machine.python <= (3, 13),
        Finding("python", "failure", version, "Set up again with Python 3.11, 3.12 or 3.13: `make setup`."),
    )
    yield _unless(
        machine.system == "Linux x86_64",
        Finding("platform", "failure", machine.system, "Penstock runs on Linux x86-64."),
    )
    yield _unless(machine.cores >= 2, Finding("cores", "warning", cores, "Expect slow answers on one core."))
    yield _unless(
        machine.disk_free >= DISK_NEEDED,
        Finding("disk", "failure", _size(machine.disk_free), "Free 2 GiB for logs and records."),
    )


def profile_findings(settings: Settings, machine: Machine) -> Iterator[Finding]:
    """What this profile needs of the machine."""
    needed = STACK_MEMORY + ENGINE_MEMORY * sum(max(1, engine.replicas) for engine in settings.engines)
    yield _unless(
        machine.memory_free >= needed,
        Finding(
            "memory",
            "failure" if machine.memory < needed else "warning",
            f"{_size(machine.memory_free)} free of {_size(machine.memory)}",
            f"This profile wants about {_size(needed)} beside weights and KV cache. Run less beside it.",
        ),
    )
    store = settings.ray.object_store_bytes
    yield _unless(
        machine.shared_memory_free >= store,
        Finding(
            "shared memory",
            "warning",
            f"{_size(machine.shared_memory_free)} free in /dev/shm",
            f"Ray wants {_size(store)} there (in a container: --shm-size=1g), else it falls back to slow files.",
        ),
    )
    yield _gpu(settings, machine)


def port_finding(settings: Settings, state: StateDir, *, listening: Callable[[str, int], bool]) -> Finding:
    """Whether the public port is free, or held by this very stack."""
    http = settings.http
    address = f"{http.host}:{http.port}"
    running = state.read_stack()
    if running is not None and running.url.endswith(f":{http.port}"):
        return Finding("port", "ok", f"{address}, held by the running stack")
    taken = listening(http.host, http.port)
    fact = f"{address} is {'taken' if taken else 'free'}"
    return _unless(not taken, Finding("port", "failure", fact, "Choose another one: `penstock up --port 8001`."))


def card_findings(settings: Settings, state: StateDir) -> Iterator[Finding]:
    """Whether the profile's cards fit its hardware, and whether their files are here."""
    catalog, models = Catalog.load(state.cards), ModelStore(state.models)
    fits = "every card fits the hardware that the profile names"
    yield (fit := _attempt("fit", lambda: require_fit(settings, catalog), fact=fits))
    if fit.verdict == "ok" and settings.ray.accelerator == "gpu":
        yield from _room_to_train(settings, catalog)
    for engine in settings.engines:
        resolve = partial(_resolve, engine.card, catalog=catalog, models=models)
        yield _attempt(f"model {engine.card}", resolve, fact="complete on this machine")


def _room_to_train(settings: Settings, catalog: Catalog) -> Iterator[Finding]:
    """Whether a training has room beside engines that load adapters."""
    if not any(setup.arguments.get("enable_lora") for setup in setups(settings, catalog)):
        return
    free, wanted = free_gpus(settings, catalog), settings.fine_tuning.gpus
    yield _unless(
        free >= wanted,
        Finding(
            "fine-tuning",
            "warning",
            f"serving leaves {free:g} GPUs, a training takes {wanted:g}",
            "Jobs wait until an engine gives way. Lower `gpu_share` and `gpu_memory_utilization` of the engines, and"
            " `fine_tuning.gpus` to what that leaves.",
        ),
    )


def _resolve(card: str, *, catalog: Catalog, models: ModelStore) -> Path:
    return models.resolve(catalog.card(card))


def package_finding(lock: Path, installed: Mapping[str, str]) -> Finding:
    """The installed packages against the lock file; a package for another platform may be missing."""
    if not lock.exists():
        return Finding("packages", "warning", "no lock file beside the package", "Installed without `make setup`?")
    locked: dict[str, set[str]] = {}
    for name, version, marker in PIN.findall(lock.read_text()):
        found = installed.get(normal(name))
        if not marker or found is not None:  # a package with a marker may be for another Python
            locked.setdefault(normal(name), set()).add(version.split("+")[0])
    wrong = [
        f"{name} {installed.get(name, 'missing')} (locked {' or '.join(sorted(versions))})"
        for name, versions in locked.items()
        if installed.get(name, "").split("+")[0] not in versions
    ]
    shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
    fact = shown or f"{len(locked)} as locked in {lock.name}"
    return _unless(not wrong, Finding("packages", "failure", fact, "`make clean setup` installs the locked set."))


def _gpu(settings: Settings, machine: Machine) -> Finding:
    found = "; ".join(machine.gpus) or "none found"
    if settings.ray.accelerator == "gpu" and settings.ray.address is None:
        enough = len(machine.gpus) >= settings.ray.gpus
        advice = f"This profile is made for {settings.ray.gpus} × {settings.ray.gpu}; `--profile cpu-demo` needs none."
        return _unless(enough, Finding("gpu", "failure", found, advice))
    return Finding("gpu", "ok", f"{found}; this profile needs none on this machine")


def _attempt(name: str, action: Callable[[], object], *, fact: str) -> Finding:
    try:
        action()
    except PenstockError as error:
        return Finding(name, "failure", "not usable", error.public)
    return Finding(name, "ok", fact)


def _unless(fine: bool, finding: Finding) -> Finding:
    """The finding, or that its thing is all right."""
    return Finding(finding.name, "ok", finding.fact) if fine else finding


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB"

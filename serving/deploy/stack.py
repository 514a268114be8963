"""Starting, changing, describing and stopping the stack of one state folder. Imports no Ray: that is `launch.py`'s
process.

The order is the promise: `stack.json` is written last, when everything answers, and removed first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.catalog import Catalog, ModelStore
from models.clock import SystemClock
from models.errors import ConfigurationError, PenstockError
from serving.deploy.environment import Ground, StackPaths, StackPorts, listeners_of, stack_environment
from serving.deploy.ground import fixed_at_start, ground_of, refuse_new_ground
from serving.deploy.launch_process import Report, run_launch
from serving.deploy.logs import keep_logs
from serving.deploy.node import STACK_ID, end_node, free_ports, is_living, require_place, stack_processes, start_node
from serving.deploy.put_back import put_back
from serving.deploy.status import engines_of
from serving.fitting import require_fit
from serving.settings import Settings, load_settings
from serving.state import StackInfo, StateDir, is_private
from serving.store.store import Store
from serving.tenancy.keys import KeyAdmin

PYTHON = (sys.executable, "-P")  # without it `-m` takes a folder `models` where `up` was called for ours
LONGEST_SCRATCH = 34  # of 107: "/h/", a node id of 56, "/s", and HAProxy's ".<pid>.tmp"; Ray's sockets need 68
FREE_BYTES_NEEDED = 500 * 2**20
WATCH_INTERVAL_S = 1.0
DRAINING = "Waiting for running requests"
ORDER = "launch.json"
GRACE_S = 15.0  # for what still works when it is asked to end
EMPTY_GRACE_S = 3.0  # for Ray's own processes alone, when everything has drained: their usual end takes all of 15 s


@dataclass(frozen=True, slots=True)
class Running:
    """A stack that answers. `key` is set only by the start that made the first key."""

    url: str
    key: str | None
    state: StateDir


def start(profile: str, *, state: StateDir, overrides: dict[str, Any], report: Report) -> Running:
    """Start the stack of this folder, or change a running one to what the profile says now.

    Refuses before anything is started when the profile cannot work, a model is missing, the port is taken or the disk
    is full. Whatever fails later is named, with the last lines of its log, and nothing is left running; on a
    cluster that was joined, a stack that is already up stays there for `down`.
    """
    settings = load_settings(profile, overrides)
    with state.lock():
        current = _living(state, report)
        settings = load_settings(profile, _kept(current, overrides))
        refuse_new_ground(current, settings)
        check_start(settings, state, fresh=current is None)
        launcher = _Launcher(state, settings, report=report)
        try:
            launcher.run(profile, _kept(current, overrides), current=current)
            key = asyncio.run(_first_key(state.store_url(settings.store)))  # last: it is shown once, to whom it helps
        except BaseException:
            if current is None and settings.ray.address is None:
                state.forget_stack()
            if current is None:
                _abandon(state, report)
            raise
    return Running(_url(settings), key, state)


def retire_command(info: StackInfo) -> list[str]:
    """How a stack is asked to end. On a cluster that was joined, Serve and the applications of others go on."""
    joined = ["--joined"] if info.pid is None else []
    return [*PYTHON, "-m", "serving.deploy.retire", info.address, *joined]


def stop(state: StateDir, *, report: Report, command: Callable[[StackInfo], list[str]] = retire_command) -> None:
    """Stop the stack: no new requests, running streams finish, then every process ends.

    A stack on a cluster that we joined has no processes for us to end: it is forgotten only once the cluster let it go.
    """
    with state.lock():
        info = None
        with suppress(ConfigurationError):  # a file that cannot be read is as good as none to who removes it
            info = state.read_stack()
        if info is not None and info.pid is None:
            report(DRAINING)
            _leave(state, info, command=command(info))
            state.forget_stack()
            _clear_away(state, report)
            put_back(state.secret_path(ORDER), report=report)
            return
        living = info if info is not None and _answers(info) else None
        drained = False
        try:
            state.forget_stack()
            if living is not None:
                drained = _drain(state, living, command=command(living), report=report)
            report("Ending the processes" if living or stack_processes(stack_id(state)) else "Nothing was running")
        finally:  # nothing that a report, a signal or a full disk does may leave a stack behind that nobody knows
            _end(state, report, grace_s=EMPTY_GRACE_S if drained else GRACE_S)
        if living is not None:  # what died before was lost
            put_back(state.secret_path(ORDER), report=report)


def wait(running: Running) -> None:
    """Return when the stack has gone; the foreground command sits here."""
    info = running.state.read_stack()
    while info is not None and _answers(info):
        time.sleep(WATCH_INTERVAL_S)
        info = running.state.read_stack()
    if info is not None:
        raise PenstockError("The stack's Ray node ended. See `penstock logs`.")


def describe(state: StateDir) -> dict[str, Any]:
    """What `penstock status` shows; asks the running gateway for readiness."""
    info = state.running()
    if not _answers(info):
        raise PenstockError("The stack has died. `penstock down` clears up, `penstock up` starts it again.")
    return {
        "url": info.url,
        "profile": info.profile,
        "version": info.version,
        "up_s": round(SystemClock().now() - info.started),
        "address": info.address,
        "processes": len(stack_processes(stack_id(state))),
        **engines_of(info.url),
    }


def stack_id(state: StateDir) -> str:
    """The id that every process of this folder's stack inherits; the same after a crash."""
    return hashlib.sha256(str(state.path).encode()).hexdigest()[:16]


def scratch_of(state: StateDir) -> Path:
    """A short path for sockets and Ray's session: a Unix socket's path has at most 107 characters."""
    name = f"penstock-{os.getuid()}-{stack_id(state)[:8]}"
    usual = Path(tempfile.gettempdir(), name)
    return usual if len(str(usual)) <= LONGEST_SCRATCH else Path("/tmp", name)


def _abandon(state: StateDir, report: Report) -> None:
    try:
        report("Stopping what was started")
    finally:
        _end(state, report)
        put_back(state.secret_path(ORDER), report=report)


def _end(state: StateDir, report: Report, *, grace_s: float = GRACE_S) -> None:
    end_node(stack_id(state), grace_s=grace_s)
    _clear_away(state, report)


def _clear_away(state: StateDir, report: Report) -> None:
    """Remove what the processes of a stack leave behind, once what they wrote is in the state folder."""
    scratch = scratch_of(state)
    if not is_private(scratch):
        return
    try:
        keep_logs(scratch, state.last_run)
    except OSError as error:
        report(f"The logs of this run could not be kept: {error.strerror}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _living(state: StateDir, report: Report) -> StackInfo | None:
    """The stack that runs here, after clearing up one that died."""
    info = state.read_stack()
    if info is not None and _answers(info):
        return info
    state.forget_stack()
    _end(state, report, grace_s=1)
    return None


def _answers(info: StackInfo) -> bool:
    """Whether the stack's node lives. A cluster that we joined is not ours to judge: its gateway tells."""
    return info.pid is None or is_living(info.pid, since=info.started)


def _kept(current: StackInfo | None, overrides: dict[str, Any]) -> dict[str, Any]:
    """A running stack keeps its port unless another one is asked for, which needs a restart."""
    if current is None:
        return overrides
    port = int(current.url.rsplit(":", 1)[1])
    asked = overrides.get("http", {}).get("port", port)
    if asked != port:
        raise ConfigurationError(f"The stack runs on port {port}. Stop it with `penstock down` to move it to {asked}.")
    return {**overrides, "http": {**overrides.get("http", {}), "port": port}}


def check_start(
    settings: Settings, state: StateDir, *, fresh: bool, free_bytes_needed: int = FREE_BYTES_NEEDED
) -> None:
    """Refuse, with the reason, what cannot work. `fresh`: nothing of this stack runs yet."""
    catalog, models = _catalog(state), ModelStore(state.models)
    require_fit(settings, catalog)
    for engine in settings.engines:
        models.resolve(catalog.card(engine.card))
    if shutil.disk_usage(state.path).free < free_bytes_needed:
        raise PenstockError(f"Less than {free_bytes_needed // 2**20} MiB are free in {str(state.path)!r}.")
    require_place(settings.http, settings.ray, fresh=fresh)


def _catalog(state: StateDir) -> Catalog:
    return Catalog.load(state.cards if state.cards.exists() else None)


async def _first_key(url: str) -> str | None:
    async with Store.open(url) as store:
        return await KeyAdmin(store.keys, clock=SystemClock()).create_first()


def _url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.http.host in ("0.0.0.0", "::") else settings.http.host
    return f"http://{host}:{settings.http.port}"


class _Launcher:
    """One `up`: the node when there is none, then the launch process, then `stack.json`."""

    def __init__(self, state: StateDir, settings: Settings, *, report: Report) -> None:
        self._state = state
        self._settings = settings
        self._report = report

    def run(self, profile: str, overrides: dict[str, Any], *, current: StackInfo | None) -> None:
        state, settings = self._state, self._settings
        ports = free_ports() if current is None else StackPorts(**current.ports)
        environment = environment_of(state, settings, ports=ports)
        pid = current.pid if current is not None else None
        address = settings.ray.address or f"127.0.0.1:{ports.gcs}"
        if current is None and settings.ray.address is None:
            self._report("Starting Ray")
            node = start_node(
                settings.ray, ports, paths=_paths(state), environment=environment, log=state.logs / "ray.log"
            )
            pid = node.pid
        order = self._order(profile, overrides, address=address, fresh=current is None)
        command = [*PYTHON, "-m", "serving.deploy.launch", str(order)]
        run_launch(command, environment, log=state.logs / "launch.log", report=self._report)
        info = StackInfo(
            url=_url(settings),
            profile=profile,
            address=address,
            version=version("penstock"),
            started=current.started if current is not None else SystemClock().now(),
            pid=pid,
            ports=asdict(ports),
            fixed=fixed_at_start(settings),
        )
        state.write_stack(info)

    def _order(self, profile: str, overrides: dict[str, Any], *, address: str, fresh: bool) -> Path:
        state = self._state
        order = {
            "profile": profile,
            "overrides": overrides,
            "address": address,
            "store_url": state.store_url(self._settings.store),
            "artifacts": str(state.artifacts),
            "fetched": str(state.fetched),
            "drafts": str(state.drafts),
            "trainings": str(state.trainings),
            "spool": str(state.path / "spool"),
            "claims": str(_core_claims()),
            "engine_token": state.secret("engine-token"),
            "salt_key": state.secret("salt-key"),
            "cards": str(state.cards) if state.cards.exists() else None,
            "models": str(state.models),
            "scratch": str(scratch_of(state)) if self._settings.ray.address is None else None,
            "fresh": fresh,
        }
        file = state.secret_path(ORDER)
        file.touch(mode=0o600)
        file.write_text(json.dumps(order))
        return file


def environment_of(state: StateDir, settings: Settings | Ground, *, ports: StackPorts) -> dict[str, str]:
    """The environment of every process of this stack."""
    paths = _paths(state)
    _own_folder(paths.scratch)
    gateways = listeners_of(paths.scratch)
    for folder in (paths.scratch / "h", gateways):
        folder.mkdir(mode=0o700, exist_ok=True)
    ours = ("--listen", settings.http.host, "--gateways", str(gateways)) if settings.ray.address is None else ()
    command = f'exec {shlex.join(PYTHON)} -m serving.deploy.haproxy {shlex.join(ours)} "$@"'
    paths.haproxy.write_text(f"#!/bin/sh\n{command}\n")
    paths.haproxy.chmod(0o700)
    if settings.ray.address is None:
        state.secret("ray-token")
    environment = stack_environment(settings, ports, paths=paths, inherited=os.environ)
    return {**environment, STACK_ID: stack_id(state)}


def _core_claims() -> Path:
    """Where engines claim cores: one folder for all stacks of a user, so that two stacks choose different cores."""
    folder = Path(tempfile.gettempdir(), f"penstock-{os.getuid()}-cores")
    _own_folder(folder)
    return folder


def _own_folder(folder: Path) -> None:
    """Make a folder in /tmp, or take the one that is there if nobody else can have a hand in it."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not is_private(folder):
        raise PenstockError(f"{str(folder)!r} is not a folder of yours alone. Remove it, or set TMPDIR.")


def _paths(state: StateDir) -> StackPaths:
    return StackPaths(scratch_of(state), state.path / "haproxy", state.secret_path("ray-token"))


def _drain(state: StateDir, info: StackInfo, *, command: list[str], report: Report) -> bool:
    """Let running streams finish, unless that fails or nobody wants to wait for it. Whether all have."""
    report(f"{DRAINING} (Ctrl-C again: end them now)")
    try:
        _retire(state, info, command=command)
        return True
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        report("Ending now")
    except PenstockError as error:
        report(f"{error.public} Ending now")
    return False


def _leave(state: StateDir, info: StackInfo, *, command: list[str]) -> None:
    """Have the cluster end the stack, or say that it may still run there."""
    try:
        _retire(state, info, command=command)
    except (KeyboardInterrupt, subprocess.TimeoutExpired, PenstockError) as error:
        raise PenstockError(
            f"The stack may still run on the Ray cluster {info.address!r}. Repeat `penstock down`; "
            f"if that cluster is gone, remove {str(state.stack_file)!r}.",
            detail=getattr(error, "detail", None),
        ) from error


def _retire(state: StateDir, info: StackInfo, *, command: list[str]) -> None:
    ground = ground_of(info)
    ports = StackPorts(**info.ports) if info.ports else free_ports()
    environment = environment_of(state, ground, ports=ports)
    limit_s = ground.timers.total_s + 60
    path = state.logs / "launch.log"
    with path.open("ab") as log:
        begin = log.tell()
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False, timeout=limit_s)
    if done.returncode != 0:
        said = path.read_bytes()[begin:].decode(errors="replace")
        raise PenstockError("Ray Serve could not be asked to end the stack.", detail=said[-1500:] or None)

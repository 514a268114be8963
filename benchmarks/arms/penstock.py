"""Penstock as a user starts it: `penstock up --detach`, the given profile, a key, the record and the timers on.

Talks to it by its command line and HTTP alone. A stack that already runs in the state folder is used and left running.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.arms import ArmFailed, Bench, Target
from benchmarks.arms.child import LOG_LINES, scraped, serves
from benchmarks.processes import EngineProcesses, descendants, engine_below, named, title, titled
from models.free_ports import free_port

COMMAND = str(Path(sys.executable).with_name("penstock"))
REPLICA = "ray::ServeReplica:penstock:"
UP_LIMIT_S = 600


def profile_settings(profile: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Every setting of a profile as the stack reads it: dotted name → value."""
    command = [COMMAND, "config", "show", "--json", "--profile", profile]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ArmFailed("penstock", f"profile {profile!r} cannot be read", log=done.stderr)
    return {name: setting["value"] for name, setting in json.loads(done.stdout).items()}


def engine_overrides(settings: Mapping[str, Any], card: str) -> dict[str, Any]:
    """The engine arguments that a profile sets over the card's own."""
    places = [name.removesuffix("card") for name, value in settings.items() if name.endswith(".card") and value == card]
    if not places:
        raise ArmFailed("penstock", f"the profile has no engine for card {card!r}")
    start = f"{places[0]}engine_args"
    nested = {name.removeprefix(f"{start}."): value for name, value in settings.items() if name.startswith(f"{start}.")}
    return {**settings.get(start, {}), **nested}


class Penstock:
    """One stack and its state folder. `files`: those of another version, with its environment, in its own folder."""

    def __init__(self, bench: Bench, *, name: str = "penstock", files: Path | None = None) -> None:
        self.name = name
        self._command = COMMAND if files is None else str(files / ".venv" / "bin" / "penstock")
        self._files = files
        self._bench = bench
        self._state = bench.state if bench.state is not None else bench.folder / f"{name}-state"
        self._environment = {**bench.environment, **bench.mock_variables}
        self._ours = False
        self.target = Target("", bench.card)

    def start(self) -> Target:
        """Start the stack, or join the one that runs here, and wait for the first answer."""
        running = self._call("status")
        if running is None or not running.get("ready"):
            running = self._up()
        key = running.get("key") or self._new_key()
        self.target = Target(str(running["url"]), self._bench.card, key)
        if not serves(self.target):
            raise ArmFailed(self.name, "the stack is up but does not answer a completion")
        if self._ours and not self.processes():
            raise ArmFailed(self.name, "the stack is up but its processes were not found")
        return self.target

    def engine(self) -> EngineProcesses | None:
        """The engine of the card under test: each card has its own replica. A mock one is the replica itself."""
        replicas = titled(self.processes(), f"{REPLICA}{self._bench.card}")
        if len(replicas) != 1:
            return None
        return EngineProcesses(replicas[0], (replicas[0],)) if self._bench.mock else engine_below(replicas[0])

    def front(self) -> list[psutil.Process]:
        """HAProxy, the gateways, and the replica's own HTTP server where the engine is not in the same process."""
        found = self.processes()
        replica = () if self._bench.mock else titled(found, f"{REPLICA}{self._bench.card}")
        edge = [process for process in found if named(process) == "haproxy"]
        return [*edge, *titled(found, f"{REPLICA}gateway"), *replica]

    def gateways(self) -> list[psutil.Process]:
        """The gateways alone."""
        return titled(self.processes(), f"{REPLICA}gateway")

    def processes(self) -> list[psutil.Process]:
        """Every process of the stack: those below the Ray node that listens where the stack's address says."""
        port = (self._call("status") or {}).get("address", "").rpartition(":")[2]
        nodes = [node for node in psutil.process_iter() if port and f"--port={port}" in title(node).split(" ")]
        return [process for node in nodes for process in (node, *descendants(node))]

    def metrics(self) -> str | None:
        """The gateway's, which carries the engines' own."""
        return scraped(self.target) if self.target.url else None

    def records(self, since_s: float) -> list[dict[str, Any]]:
        """What the stack wrote of its calls, as far back as that; nothing where it cannot be read."""
        command = ("records", "export", "--since", f"{int(since_s) + 1}s", "--state-dir", str(self._state))
        return [json.loads(line) for line in self._run(*command).stdout.splitlines()]

    def stop(self) -> None:
        """End the stack if it is ours."""
        if self._ours:
            self._call("down")
            self._ours = False

    def _up(self) -> dict[str, Any]:
        self._ours = True
        port = ["--port", str(free_port())]
        started = self._run("up", "--detach", "--profile", self._bench.profile, *port, *self._options)
        if started.returncode != 0:
            lines = started.stderr.strip().splitlines()
            raise ArmFailed(self.name, "`penstock up` failed", log="\n".join(lines[-LOG_LINES:]))
        return dict(json.loads(started.stdout))

    @property
    def _options(self) -> tuple[str, ...]:
        return ("--json", "--state-dir", str(self._state))

    def _new_key(self) -> str:
        made = self._call("keys", "create", "--org", "benchmark", "--user", "data-plane", "--role", "admin")
        if made is None:
            raise ArmFailed(self.name, "`penstock keys create` failed")
        return str(made["key"])

    def _call(self, *command: str) -> dict[str, Any] | None:
        done = self._run(*command, *self._options)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else None

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._command, *command],
            cwd=self._files,  # older versions import from where they are started
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=UP_LIMIT_S,
        )

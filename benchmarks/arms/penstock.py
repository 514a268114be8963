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
from benchmarks.arms.child import LOG_LINES, free_port, scraped, serves
from benchmarks.processes import EngineProcesses, descendants, engine_below, title, titled

COMMAND = str(Path(sys.executable).with_name("penstock"))
REPLICA = "ray::ServeReplica:penstock:"
UP_LIMIT_S = 600


def profile_settings(profile: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Every setting of a profile as the stack reads it: dotted name → value."""
    command = [COMMAND, "config", "show", "--json", "--profile", profile]
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ArmFailed(Penstock.name, f"profile {profile!r} cannot be read", log=done.stderr)
    return {name: setting["value"] for name, setting in json.loads(done.stdout).items()}


def engine_overrides(settings: Mapping[str, Any], card: str) -> dict[str, Any]:
    """The engine arguments that a profile sets over the card's own."""
    places = [name.removesuffix("card") for name, value in settings.items() if name.endswith(".card") and value == card]
    if not places:
        raise ArmFailed(Penstock.name, f"the profile has no engine for card {card!r}")
    start = f"{places[0]}engine_args"
    nested = {name.removeprefix(f"{start}."): value for name, value in settings.items() if name.startswith(f"{start}.")}
    return {**settings.get(start, {}), **nested}


class Penstock:
    """One stack and its state folder."""

    name = "penstock"

    def __init__(self, bench: Bench, *, profile: str, state: Path) -> None:
        self._bench = bench
        self._profile = profile
        self._state = state
        self._ours = False
        self._target: Target | None = None

    def start(self) -> Target:
        """Start the stack, or join the one that runs here, and wait for the first answer."""
        running = self._call("status")
        if running is None or not running.get("ready"):
            running = self._up()
        key = running.get("key") or self._new_key()
        self._target = Target(str(running["url"]), self._bench.card, key)
        if not serves(self._target):
            raise ArmFailed(self.name, "the stack is up but does not answer a completion")
        return self._target

    def engine(self) -> EngineProcesses | None:
        """The engine of the card under test: each card has its own replica."""
        replicas = titled(self._processes(), f"{REPLICA}{self._bench.card}")
        return engine_below(replicas[0]) if len(replicas) == 1 else None

    def front(self) -> list[psutil.Process]:
        """The gateways."""
        return titled(self._processes(), f"{REPLICA}gateway")

    def metrics(self) -> str | None:
        """The gateway's, which carries the engines' own."""
        return scraped(self._target) if self._target is not None else None

    def stop(self) -> None:
        """End the stack if it is ours."""
        if self._ours:
            self._call("down")
            self._ours = False

    def _up(self) -> dict[str, Any]:
        self._ours = True
        port = ["--port", str(free_port())]
        started = self._run("up", "--detach", "--profile", self._profile, *port)
        if started.returncode != 0:
            lines = started.stderr.strip().splitlines()
            raise ArmFailed(self.name, "`penstock up` failed", log="\n".join(lines[-LOG_LINES:]))
        return dict(json.loads(started.stdout))

    def _new_key(self) -> str:
        made = self._call("keys", "create", "--org", "benchmark", "--user", "data-plane", "--role", "admin")
        if made is None:
            raise ArmFailed(self.name, "`penstock keys create` failed")
        return str(made["key"])

    def _processes(self) -> list[psutil.Process]:
        """Every process of the stack: those below the Ray node that listens where the stack's address says."""
        port = (self._call("status") or {}).get("address", "").rpartition(":")[2]
        nodes = [node for node in psutil.process_iter() if port and f"--port={port}" in title(node).split(" ")]
        return [process for node in nodes for process in descendants(node)]

    def _call(self, *command: str) -> dict[str, Any] | None:
        done = self._run(*command)
        return dict(json.loads(done.stdout)) if done.returncode == 0 else None

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *command, "--json", "--state-dir", str(self._state)],
            env=dict(self._bench.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=UP_LIMIT_S,
        )

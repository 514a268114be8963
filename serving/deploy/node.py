"""Our own Ray node: started with ports and a token of its own, found again, and ended down to the last process.

Every process of a stack inherits an id in its environment; ending the stack ends exactly those, so a second stack, or
somebody else's Ray, on the same machine is never touched. Imports no Ray: it runs Ray's own command.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import psutil

from models.errors import PenstockError
from models.free_ports import LOOPBACK, free_block, port_is_free
from serving.deploy.environment import StackPaths, StackPorts
from serving.settings import HttpSettings, RaySettings

STACK_ID = "PENSTOCK_STACK_ID"
START_LIMIT_S = 90
GATEWAY_PORTS = 200
SINGLE_PORTS = tuple(field.name for field in fields(StackPorts) if field.name != "gateways")


def free_ports() -> StackPorts:
    """Ports in a row that nobody listens on now: a block for gateway replicas and the single ones behind it."""
    first = free_block(GATEWAY_PORTS + len(SINGLE_PORTS))
    single = {name: first + GATEWAY_PORTS + place for place, name in enumerate(SINGLE_PORTS)}
    return StackPorts(gateways=first, **single)


def require_place(http: HttpSettings, ray: RaySettings, *, fresh: bool) -> None:
    """Refuse a cluster that does not answer, and a port that is taken when nothing of the stack runs yet.

    On a cluster that was joined Serve may listen already, for others, and on other machines than this one.
    """
    if ray.address is not None:
        if not answers(ray.address):
            raise PenstockError(f"No Ray cluster answers at {ray.address!r}.")
    elif fresh and not port_is_free(http.host, http.port):
        raise PenstockError(
            f"Port {http.port} of {http.host} is taken. Choose another one with --port, or stop what listens there."
        )


def answers(address: str, *, limit_s: float = 5.0) -> bool:
    """Whether somebody listens at `host:port`; other forms (`auto`, `ray://…`) are Ray's to resolve."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return True
    with suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=limit_s):
        return True
    return False


def start_node(
    ray: RaySettings, ports: StackPorts, *, paths: StackPaths, environment: Mapping[str, str], log: Path
) -> psutil.Process:
    """Start a Ray head on loopback and return its supervising process once the cluster answers."""
    command = [
        *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"),
        *(f"--node-ip-address={LOOPBACK}", f"--port={ports.gcs}", f"--num-cpus={ray.num_cpus}"),
        *(f"--object-store-memory={ray.object_store_bytes}", f"--temp-dir={paths.scratch / 'ray'}"),
        *("--include-dashboard=false", "--include-log-monitor=false"),
        *("--min-worker-port=0", "--max-worker-port=0", f"--ray-client-server-port={ports.client}"),
        *(f"--metrics-export-port={ports.exporter}", f"--runtime-env-agent-port={ports.runtime_env}"),
        *(f"--dashboard-agent-listen-port={ports.agent}", f"--dashboard-agent-grpc-port={ports.agent_grpc}"),
    ]
    with log.open("ab") as output:
        begin = output.tell()
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    _wait_for_gcs(process, ports.gcs, log=log, begin=begin)
    return psutil.Process(process.pid)


def _wait_for_gcs(process: subprocess.Popen[bytes], port: int, *, log: Path, begin: int) -> None:
    """`begin`: where this start's own lines begin; the ones before it tell of earlier nodes."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise PenstockError("Ray did not start.", detail=_tail(log))
        if not port_is_free(LOOPBACK, port) and b"Ray runtime started" in log.read_bytes()[begin:]:
            return
        time.sleep(0.2)
    raise PenstockError(f"Ray did not answer within {START_LIMIT_S} s.", detail=_tail(log))


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-1500:]


def is_living(pid: int, *, since: float) -> bool:
    """Whether the process that ran at `since` (epoch seconds) still does: no zombie, no later one with its number."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return _lives(process) and bool(process.create_time() <= since)
    return False


def stack_processes(stack_id: str) -> list[psutil.Process]:
    """Every living process that inherited this stack's id, and all their descendants.

    Descendants, because Ray's own workers and agents write their title over the environment that they were given.
    """
    found = {each.pid: each for process in psutil.process_iter() for each in _family(process, stack_id)}
    found.pop(psutil.Process().pid, None)
    return [process for process in found.values() if _lives(process)]


def _family(process: psutil.Process, stack_id: str) -> list[psutil.Process]:
    with suppress(psutil.Error):
        if process.environ().get(STACK_ID) == stack_id:
            return [process, *process.children(recursive=True)]
    return []


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def end_node(stack_id: str, *, grace_s: float) -> int:
    """End every process of the stack: asked first, killed when `grace_s` is over. Returns how many there were."""
    processes = stack_processes(stack_id)
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=grace_s)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)
    for process in stack_processes(stack_id):  # born while the others died
        with suppress(psutil.Error):
            process.kill()
    return len(processes)

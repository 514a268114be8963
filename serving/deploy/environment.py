"""The environment that Ray, Serve and the engines of one stack run in: every switch with its reason, every port its
own.

Pure: computes a mapping, starts nothing. Serve reads most of these when it is imported, so they must be there before
the first process of the stack starts, on every node.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.settings import HttpSettings, RaySettings, Settings, TimerSettings

QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "RAYLLM_ENABLE_REQUEST_PROMPT_LOGS": "0",  # Ray LLM logs prompts unless told not to
}

DRAIN_MARGIN_S = 30
DEREGISTER_S = 5


@dataclass(frozen=True, slots=True)
class StackPorts:
    """The ports of one stack beside its public one; all on loopback when the node is our own."""

    gcs: int
    metrics: int
    stats: int
    grpc: int
    gateways: int
    agent: int
    agent_grpc: int
    runtime_env: int
    exporter: int
    client: int


@dataclass(frozen=True, slots=True)
class StackPaths:
    """Where a stack keeps what its processes need. `scratch` is short: it holds Unix sockets (107 characters)."""

    scratch: Path
    haproxy: Path
    ray_token: Path


@dataclass(frozen=True, slots=True)
class Ground:
    """The sections of the settings that a running stack stands on until it ends."""

    http: HttpSettings
    timers: TimerSettings
    ray: RaySettings


def listeners_of(scratch: Path) -> Path:
    """Where the gateways of a stack leave the ports of their own servers, for HAProxy."""
    return scratch / "g"


def stack_environment(
    settings: Settings | Ground, ports: StackPorts, *, paths: StackPaths, inherited: Mapping[str, str]
) -> dict[str, str]:
    """What every process of the stack inherits, over what the caller's own environment holds."""
    longest_s = int(settings.timers.total_s) + DRAIN_MARGIN_S
    sockets = paths.scratch / "h"
    return {
        **_login(settings.ray, paths, inherited=inherited),
        **QUIET,
        "PYTHONUNBUFFERED": "1",
        # Ray's control plane is remote code execution for whoever reaches it: token, always (05-faults T1).
        "RAY_AUTH_MODE": "token",
        "RAY_DEDUP_LOGS": "0",
        "RAY_worker_niceness": "0",  # Ray's default is 15: every other process of the machine would go first
        # Ray's only switch for a node address of 127.0.0.1: everything it opens then listens on loopback.
        **({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if settings.ray.address is None else {}),
        # HAProxy in front of the gateways, and handles that cost 1.7 ms instead of 6.2 (docs/decisions/0002).
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # The switch above holds 1,000 log lines back, those of calls among them; not to costs 20 us a line (measured).
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # Off, the drain of a replica that failed its health checks lasts as long as the calls that hang in it.
        "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(paths.haproxy),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(sockets / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(sockets / "s"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(sockets),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(sockets / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(sockets / "m"),  # else one folder in /tmp for all users
        # Its own counters stay. Off: a log line per call that a Python process reads for metrics nobody asked for.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.stats),
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(2 * settings.http.max_header_bytes),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        # A reload of HAProxy or the end of a gateway must not cut the longest stream.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(longest_s),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(DEREGISTER_S),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.gateways),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.gateways + 99),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(ports.gateways + 100),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(ports.gateways + 199),
    }


def _login(ray: RaySettings, paths: StackPaths, *, inherited: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment with the token that opens this Ray: on a joined cluster the caller's own, as it is."""
    if ray.address is not None:
        return dict(inherited)
    others = {name: value for name, value in inherited.items() if name != "RAY_AUTH_TOKEN"}  # it beats the file
    return {**others, "RAY_AUTH_TOKEN_PATH": str(paths.ray_token)}

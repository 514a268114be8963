"""A second stack beside the first, and what either of them lets in from outside."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psutil
import pytest
from openai import AuthenticationError, OpenAI

from models.free_ports import free_port
from tests.e2e.conftest import Stack
from tests.e2e.processes import actors_of, node_of, replicas_of, wait_until

HELLO = [{"role": "user", "content": "Hello"}]
DEPLOYMENTS = ("gateway", "demo-small", "demo-large", "classifier")
# Serve binds the gRPC servers of its replicas to all addresses and has no setting for it; they want Ray's token.
REPLICA = "ray::ServeReplica"
INTERNET = (socket.AF_INET, socket.AF_INET6)
GRPC_METHOD = "/ray.serve.ASGIService/HandleRequest"


@pytest.fixture(scope="module")
def second(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Another stack in a state folder of its own, with the small tier alone."""
    profile = tmp_path_factory.mktemp("profile") / "small-only.yaml"
    profile.write_text(
        "tiers: {small: demo-small, large: demo-small, default: small}\n"
        "engines: [{card: demo-small, max_running: 8, max_queued: 8}]\n"
        "ray: {accelerator: cpu, num_cpus: 32}\n"
    )
    with tempfile.TemporaryDirectory(prefix="pe2f") as folder:
        other = Stack("", "", Path(folder))
        try:
            up = ("up", "--profile", str(profile), "--detach", "--json", "--port", str(free_port()))
            answer = json.loads(other.run(*up).stdout)
            yield Stack(answer["url"], answer["key"], Path(folder))
        finally:
            other.run("down")


@pytest.mark.timeout(600)
def test_both_answer_and_neither_knows_the_keys_of_the_other(stack: Stack, second: Stack) -> None:
    for one, other in ((stack, second), (second, stack)):
        with OpenAI(base_url=f"{one.url}/v1", api_key=one.key, max_retries=0) as client:
            assert client.chat.completions.create(model="demo-small", messages=HELLO).choices[0].message.content
            with pytest.raises(AuthenticationError):
                client.with_options(api_key=other.key).models.list()


def test_the_replicas_of_two_stacks_are_processes_of_their_own(stack: Stack, second: Stack) -> None:
    first, other = (replicas_of(one.state_dir, "demo-small") for one in (stack, second))
    assert len(first) == len(other) == 1
    assert first[0].engine_pids.isdisjoint(other[0].engine_pids)


def test_an_engine_is_one_process_on_a_core_of_its_own(stack: Stack) -> None:
    engines = [replica for card in ("demo-small", "demo-large") for replica in replicas_of(stack.state_dir, card)]
    assert [engine.workers for engine in engines] == [(), ()]

    def bound() -> set[tuple[int, ...]]:
        return {tuple(engine.core.cpu_affinity()) for engine in engines}

    wait_until(lambda: len(bound()) == min(2, len(psutil.Process().cpu_affinity())), limit_s=30)
    assert all(len(cores) == 1 for cores in bound())


def test_only_the_public_port_and_serves_grpc_listen_beyond_loopback(stack: Stack) -> None:
    public = urlsplit(stack.url).port
    found = list(listeners(stack))
    assert len(found) > 10
    assert any(port == public for _, _, port in found)
    beyond = {port: title for title, address, port in found if not _is_loopback(address) and port != public}
    assert all(title.startswith(REPLICA) for title in beyond.values()), beyond
    assert len(beyond) == len(actors_of(stack.state_dir, *DEPLOYMENTS)), (
        "one gRPC server in each replica, and no door or gateway"
    )
    assert {port: _call_without_token(port) for port in beyond} == dict.fromkeys(
        beyond, grpc.StatusCode.UNAUTHENTICATED
    )


def _call_without_token(port: int) -> grpc.StatusCode | None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(GRPC_METHOD)(b"", timeout=5)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return None


def _is_loopback(address: str) -> bool:
    parsed = ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def listeners(stack: Stack) -> Iterator[tuple[str, str, int]]:
    """(title of the process, address, port) of everything in the stack that listens for TCP."""
    node = node_of(stack.state_dir)
    for process in (node, *node.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # an idle worker of Ray's ends when it likes to
            found, title = process.net_connections(kind="tcp"), " ".join(process.cmdline())
            listening = [one.laddr for one in found if one.status == psutil.CONN_LISTEN and one.family in INTERNET]
            yield from ((title, address.ip, address.port) for address in listening)

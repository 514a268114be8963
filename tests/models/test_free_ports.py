import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from models import free_ports
from models.errors import PenstockError
from models.free_ports import free_block, free_port, port_is_free

KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL = 32_768


def test_a_port_with_a_listener_is_not_free() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not port_is_free("127.0.0.1", port)
        assert not port_is_free("0.0.0.0", port)
    assert port_is_free("127.0.0.1", port)


@pytest.mark.parametrize("host", ["::1", "::"])
def test_a_port_of_the_newer_internet_is_free_until_somebody_listens(host: str) -> None:
    port = free_port()
    try:
        listener = socket.create_server(("::1", port), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert not port_is_free(host, port)
    assert port_is_free(host, port)


def test_a_port_that_was_the_end_of_a_connection_a_moment_ago_is_free() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as listener, socket.create_connection(("127.0.0.1", port)):
        listener.accept()[0].close()
    assert port_is_free("127.0.0.1", port)


@pytest.mark.parametrize("choose", [free_port, partial(free_block, 209)])
def test_no_client_is_handed_a_port_that_was_chosen_for_a_server(choose: Callable[[], int]) -> None:
    handed_to_clients = int(KERNEL.read_text().split()[0])
    if handed_to_clients < USUAL:
        pytest.skip("this machine was told to hand out lower ports: a server's port may then be taken by a client")
    assert all(choose() + 209 <= handed_to_clients for _ in range(20))


def test_what_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_block(12)
    monkeypatch.setattr(free_ports, "BLOCKS", (first, first + 12))
    monkeypatch.setattr(free_ports, "SINGLES", (first, first + 2))
    assert free_block(4) in (first, first + 4, first + 8)
    with socket.create_server(("127.0.0.1", first)), socket.create_server(("127.0.0.1", first + 7)):
        assert free_block(4) == first + 8
        assert free_port() == first + 1
        with pytest.raises(PenstockError, match="12 free ports in a row"):
            free_block(12)

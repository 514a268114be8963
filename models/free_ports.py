"""Ports of loopback for servers that are started next.

From below the range that the kernel hands to clients (32768 and up, unless a machine was told otherwise): a port of
that range may be free when it is chosen, and a client's own when its server opens it, seconds or minutes later.
"""

from __future__ import annotations

import random
import socket

from models.errors import PenstockError

LOOPBACK = "127.0.0.1"
BLOCKS = (20_000, 30_000)
SINGLES = (30_000, 32_000)


def free_port() -> int:
    """One that nobody listens on now."""
    return _first_free(range(*SINGLES), length=1)


def free_block(length: int) -> int:
    """The first of `length` ports in a row that nobody listens on now."""
    return _first_free(range(BLOCKS[0], BLOCKS[1] - length + 1, length), length=length)


def port_is_free(host: str, port: int) -> bool:
    """Whether this address, of IPv4 or IPv6, can be listened on now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError:
            return False
    return True


def _first_free(starts: range, *, length: int) -> int:
    # In random order: who was given a port may not listen on it for minutes.
    for start in random.sample(starts, len(starts)):
        if all(port_is_free(LOOPBACK, port) for port in range(start, start + length)):
            return start
    raise PenstockError(f"No {length} free ports in a row between {starts.start} and {starts.stop}.")

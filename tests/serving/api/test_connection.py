"""What can be seen behind `send`: uvicorn's own cycle, also through the wrappers that a server may put around it."""

from __future__ import annotations

from typing import Any

import pytest

from serving.api.connection import Connection
from tests.serving.api.fakes import served
from tests.serving.api.wire import wire


def wrapped(send: Any) -> Any:
    """As Ray Serve does: an inner function that keeps the next callable in a variable named `send`."""

    async def send_user_message(message: Any) -> None:
        await send(message)

    return send_user_message


@pytest.mark.parametrize("layers", [0, 1, 3])
async def test_the_target_is_seen_as_the_client_wrote_it(layers: int) -> None:
    seen: list[bytes | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        outer = send
        for _ in range(layers):
            outer = wrapped(outer)
        seen.append(Connection(outer).target)
        assert Connection(outer).abort()

    async with served(app) as port, wire(port) as client:
        await client.send(b"GET http://evil/x?y HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await client.until_closed() == b""
    assert seen == [b"http://evil/x?y"]


async def test_an_unknown_server_shows_nothing_and_nothing_breaks() -> None:
    async def send(message: Any) -> None:
        return None

    connection = Connection(wrapped(send))
    assert connection.target is None
    assert connection.abort() is False
    connection.close_after_answer()

import asyncio
from typing import Any

import pytest

from serving.deploy.status import engines_of
from serving.testing import Receive, Scope, Send, free_socket, serve

READY = b'{"status":"ready"}'


async def told_by(status: int, body: bytes) -> dict[str, Any]:
    """What is said of a gateway that answers so."""

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"] == "/ready"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async with serve(gateway) as url:
        return await asyncio.to_thread(engines_of, url)


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
async def test_the_report_of_the_gateway_is_passed_on(status: int, ready: bool) -> None:
    assert await told_by(status, READY) == {"ready": ready, "report": {"status": "ready"}}


async def test_a_page_is_no_report_of_a_gateway() -> None:
    told = await told_by(200, b"<html>")
    assert (told["ready"], "does not answer" in told["reason"]) == (False, True)


def test_a_gateway_that_is_not_there_is_part_of_the_answer() -> None:
    with free_socket() as nobody:
        told = engines_of(f"http://127.0.0.1:{nobody.getsockname()[1]}")
    assert told == {"ready": False, "reason": "the gateway does not answer: ConnectError"}


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:1")
    test_a_gateway_that_is_not_there_is_part_of_the_answer()

"""A stack to talk to: the shipped fake engine behind a port of its own, with the headers of a gateway."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from serving.cli import build
from serving.testing import FakeEngine, Message, Receive, Scope, Script, Send
from tests.serving.thread import in_thread

KEY = "sk-test"


class FakeStack:
    """The engine as a client meets it through a gateway; refuses other keys."""

    def __init__(self) -> None:
        self.engine = FakeEngine(Script(tokens=3, word="ha "), token=KEY)
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(b"x-penstock-tier", b"small"), (b"x-penstock-route", b"threshold"), (b"x-request-id", b"r1")]
                message = {**message, "headers": [*message["headers"], *ours]}
            await send(message)

        await self.engine(scope, receive, with_headers)


@pytest.fixture
def stack() -> Iterator[FakeStack]:
    made = FakeStack()
    with in_thread(made) as made.url:
        yield made


@pytest.fixture
def penstock(tmp_path: Any) -> Callable[..., Result]:
    """Run a command line against a state folder of its own; the test's environment is on top."""

    def run(*arguments: str, given: str | None = None, **environment: str) -> Result:
        clean = {
            "PENSTOCK_STATE_DIR": str(tmp_path / "state"),
            "PENSTOCK_URL": "",
            "PENSTOCK_API_KEY": "",
            "COLUMNS": "200",
        }
        return CliRunner().invoke(build(), list(arguments), input=given, env={**clean, **environment})

    return run

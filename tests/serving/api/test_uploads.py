"""Files on their way in: how many at once, and how slowly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from starlette.types import Message

from models.errors import InvalidRequest, Unavailable
from serving.api.gate import Gate
from serving.api.uploads import MOST_AT_ONCE, Uploads
from serving.settings import HttpSettings, TimerSettings

KINDS = frozenset({"application/zip"})
SCOPE = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/zip")]}


def uploads(**timers: float) -> Uploads:
    return Uploads(HttpSettings(), TimerSettings(**timers))  # type: ignore[arg-type]


def lying(folder: Path) -> int:
    return len(list(folder.iterdir()))


async def whole() -> Message:
    return {"type": "http.request", "body": b"all of it", "more_body": False}


async def test_a_file_too_many_is_refused_and_a_place_is_free_again_when_one_has_gone(tmp_path: Path) -> None:
    came = uploads()
    async with AsyncExitStack() as held:
        for _ in range(MOST_AT_ONCE):
            await held.enter_async_context(came.received(SCOPE, whole, kinds=KINDS, work=tmp_path))
        with pytest.raises(Unavailable):
            await held.enter_async_context(came.received(SCOPE, whole, kinds=KINDS, work=tmp_path))
        assert lying(tmp_path) == MOST_AT_ONCE
    async with came.received(SCOPE, whole, kinds=KINDS, work=tmp_path) as file:
        assert file.size == 9
    assert lying(tmp_path) == 0


async def dribble(every_s: float) -> AsyncIterator[Message]:
    while True:
        yield {"type": "http.request", "body": b"x", "more_body": True}
        await asyncio.sleep(every_s)


async def test_a_client_that_sends_a_byte_now_and_then_does_not_keep_its_place(tmp_path: Path) -> None:
    parts = dribble(0.05)
    async with asyncio.timeout(5):
        with pytest.raises(InvalidRequest, match="too slowly"):
            async with uploads(body_s=0.3).received(SCOPE, parts.__anext__, kinds=KINDS, work=tmp_path):
                pass
    assert lying(tmp_path) == 0


@pytest.mark.parametrize("path", ["/v1/adapters/bot/versions", "/v1/files"])
@pytest.mark.parametrize(("length", "closes"), [(2**30, True), (1000, False)])
def test_a_long_file_that_is_refused_is_not_read_to_its_end(path: str, length: int, closes: bool) -> None:
    headers = [(b"content-length", str(length).encode())]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    assert Gate(HttpSettings()).closes(InvalidRequest("no", code="invalid_api_key"), scope) is closes

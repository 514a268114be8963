"""Rows J: a hostile body of 4 MiB costs its sender an error, and the other calls of the gateway nothing."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from models.errors import InvalidRequest
from models.strict_json import MAX_PARTS, parse_object
from serving.api.body import INLINE_BYTES, JsonBodies
from serving.api.patterns import check_pattern
from serving.settings import HttpSettings, TimerSettings
from tests.serving.api.fakes import Stack, assert_error

JSON = {"content-type": "application/json"}
LONGEST = 4 * 2**20
LONGEST_GAP_S = 0.25


def body(item: bytes, *, most: int = LONGEST, field: bytes = b"messages", tail: bytes = b"") -> bytes:
    """An array of as many items as are allowed, or fit."""
    head = b'{"model":"auto","' + field + b'":['
    count = min(most, (LONGEST - len(head) - len(tail) - 2) // (len(item) + 1))
    return head + b",".join([item] * count) + b"]" + tail + b"}"


SURROGATE = rb',"x":"\ud800"'
HOSTILE = {
    "objects": (body(b"{}"), "invalid_json"),
    "strings": (body(b'""'), "invalid_json"),
    "arrays": (body(b"[]"), "invalid_json"),
    "lone-surrogate": (body(b'""', tail=SURROGATE), "invalid_json"),
    "objects-at-the-limit": (body(b"{}", most=MAX_PARTS - 2), "invalid_value"),
    "arrays-at-the-limit": (body(b"[]", most=MAX_PARTS - 2), "invalid_value"),
    "lone-surrogate-at-the-limit": (body(b'""', most=MAX_PARTS - 5, tail=SURROGATE), "invalid_value"),
    "numbers": (body(b"1.5"), "invalid_value"),
    "token-ids": (body(b"1", field=b"prompt"), None),
    "a-text": (b'{"model":"auto","prompt":"' + b"[{" * (2**21 - 20) + b'"}', None),
    "an-emoji-text": (b'{"model":"auto","prompt":"' + rb"\ud83d\ude00" * 349_000 + b'"}', None),
}


@asynccontextmanager
async def gaps() -> AsyncIterator[list[float]]:
    """Between two turns of the event loop: the processor time of this process, its threads included.

    The wall clock would count what other programs take of the machine. The loop's own time would miss a thread that
    keeps the interpreter to itself, which holds the loop up as much as work inside it.
    """
    found: list[float] = []

    async def tick() -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(0.001)
            last, before = time.process_time(), last
            found.append(last - before)

    task = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    yield found
    task.cancel()


@pytest.mark.parametrize("name", HOSTILE)
async def test_the_loop_turns_while_a_hostile_body_is_read(stack: Stack, name: str) -> None:
    data, code = HOSTILE[name]
    assert INLINE_BYTES < len(data) <= LONGEST
    path = "/v1/completions" if b'"prompt"' in data[:40] else "/v1/chat/completions"
    gc.collect()  # else a collection of everything that the test session holds falls into a gap
    async with stack.client() as client, gaps() as found:
        response = await client.post(path, content=data, headers=JSON)
    # Far above what was seen (0.01 to 0.05 s), far below what reading in the loop costs (0.3 to 0.9 s).
    assert max(found) < LONGEST_GAP_S
    if code is None:
        assert response.status_code == 200
    else:
        assert_error(response, 400, code)


@pytest.mark.parametrize(
    ("item", "words"),
    [(b'"a"', "strings"), (b'"\\"\\\\"', "strings"), (b"[]", "arrays and objects"), (b"{}", "arrays")],
)
def test_more_parts_than_any_request_needs_are_refused(item: bytes, words: str) -> None:
    assert len(parse_object(b'{"x":[' + b",".join([item] * (MAX_PARTS - 2)) + b"]}", 64)["x"]) == MAX_PARTS - 2
    with pytest.raises(InvalidRequest, match=words):
        parse_object(b'{"x":[' + b",".join([item] * (MAX_PARTS + 1)) + b"]}", 64)


def test_brackets_and_quotes_of_a_text_are_no_parts() -> None:
    text = '[{\\"\\\\' * (MAX_PARTS + 1)
    assert len(parse_object(b'{"x":"' + text.encode() + b'"}', 64)["x"]) == 4 * (MAX_PARTS + 1)


class Reader:
    """Notes in which threads it ran, and how many times at once."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.running = self.most = 0

    def __call__(self, document: dict[str, Any]) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        self.threads.append(threading.get_ident())
        time.sleep(0.01)
        self.running -= 1
        return len(document)


async def read(bodies: JsonBodies, length: int, reader: Reader) -> int:
    data = b'{"x":"' + b"a" * (length - 8) + b'"}'

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    return await bodies.read({"headers": [(b"content-type", b"application/json")]}, receive, reader=reader)


async def test_a_long_body_is_read_in_a_thread_and_a_common_one_where_it_is() -> None:
    bodies, reader = JsonBodies(HttpSettings(), TimerSettings()), Reader()
    assert [await read(bodies, length, reader) for length in (INLINE_BYTES, INLINE_BYTES + 1)] == [1, 1]
    assert [thread == threading.get_ident() for thread in reader.threads] == [True, False]


async def test_long_bodies_are_read_one_after_the_other() -> None:
    bodies, reader = JsonBodies(HttpSettings(), TimerSettings()), Reader()
    await asyncio.gather(*(read(bodies, 2 * INLINE_BYTES, reader) for _ in range(5)))
    assert (len(reader.threads), reader.most) == (5, 1)


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_patterns_checked_in_several_threads_leave_the_filters_of_warnings_alone(impatient_threads: None) -> None:
    before, together = warnings.filters[:], threading.Barrier(4)

    def check() -> None:
        together.wait()
        for _ in range(500):
            check_pattern("[[a]b]", "x")

    threads = [threading.Thread(target=check) for _ in range(together.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before

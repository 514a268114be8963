"""Generated requests: whatever is sent, no answer is a 5xx and every error has the one shape."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.api.chat import chat_checks
from serving.api.completions import completion_checks
from serving.settings import HttpSettings
from tests.serving.api.fakes import CHAT, COMPLETION, Stack, error_in
from tests.serving.api.test_message_rows import GOOD, ROWS
from tests.serving.api.test_parameter_rows import CHAT_ROWS, COMPLETION_ROWS, GOOD_CHAT

BATCH = 20
EXAMPLES = 150
Request = tuple[str, str, bytes]


def walked(value: Any) -> list[Any]:
    """A value and every value inside it: what is wrong in one place may be right in another."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(deep for item in inner for deep in walked(item))]


TABLES = [*CHAT_ROWS.values(), *COMPLETION_ROWS.values(), *ROWS.values()]
KNOWN_VALUES = [deep for row in TABLES for deep in walked(row[0]) if len(repr(deep)) < 2000] + walked([GOOD, GOOD_CHAT])
NAMES = sorted({*chat_checks(HttpSettings()), *completion_checks(HttpSettings()), *CHAT_ROWS})

odd = st.sampled_from(
    [float("nan"), float("inf"), 10**30, -(2**63) - 1, 10**4000, "\ud800", "\0", "x" * 3000, -0.0, 2**53]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | odd
leaves = st.sampled_from(KNOWN_VALUES) | scalars
values = leaves | leaves | st.lists(leaves, max_size=3) | st.dictionaries(st.sampled_from(NAMES), leaves, max_size=3)
good_fields = st.dictionaries(st.sampled_from(sorted(GOOD_CHAT)), st.none(), max_size=5).map(
    lambda chosen: {name: GOOD_CHAT[name] for name in chosen}
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body that begins as a good one and has some of its members replaced, and sometimes its bytes too."""
    base = draw(st.sampled_from([CHAT, COMPLETION]))
    body = base | draw(good_fields) | draw(st.dictionaries(st.sampled_from(NAMES), values, max_size=2))
    data = json.dumps(body).encode()
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=6)) + data[at + draw(st.integers(0, 3)) :]
    return data


generation = st.tuples(st.just("POST"), st.sampled_from(["/v1/chat/completions", "/v1/completions"]), bodies())
feedback = st.tuples(
    st.just("POST"),
    st.sampled_from(["/v1/feedback", "/v1/router/explain", "/admin/keys"]),
    bodies() | st.binary(max_size=50),
)
elsewhere = st.tuples(
    st.sampled_from(["GET", "POST", "DELETE", "PUT", "FOO"]),
    st.text(st.characters(codec="utf-8"), max_size=20).map(lambda text: "/" + text)
    | st.text(max_size=20).map(lambda text: "/v1/models/" + text),
    st.binary(max_size=20),
)


class InProcess:
    """Calls the application without a socket."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def call(self, request: Request) -> tuple[int, dict[bytes, bytes], bytes]:
        method, path, data = request
        sent: list[Any] = []
        messages = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop()
            return await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        headers = {b"host": b"a", b"authorization": b"Bearer root", b"content-type": b"application/json"}
        raw = path.encode("utf-8", "replace")
        scope = {"type": "http", "method": method, "path": path, "raw_path": raw, "query_string": b"", "root_path": ""}
        await self._app({**scope, "headers": list(headers.items())}, receive, send)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], dict(sent[0]["headers"]), body


def check(answer: tuple[int, dict[bytes, bytes], bytes], request: Request) -> str:
    """The one shape; returns the code, or `ok`."""
    status, headers, body = answer
    assert status < 500, (request, body)
    assert headers[b"x-request-id"]
    if status < 400:
        return "ok"
    assert len(body) <= 1024, request
    assert body.isascii(), request
    return str(error_in(body, status)["code"])


def test_no_generated_request_gets_a_5xx_or_another_shape() -> None:
    stack, seen = Stack(), Counter[str]()
    app = InProcess(stack.app())
    requests = st.lists(
        generation | generation | generation | feedback | elsewhere, min_size=BATCH * 2, max_size=BATCH * 2
    )

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(requests)
    def attack(batch: list[Request]) -> None:
        for request in batch:
            seen[check(runner.run(app.call(request)), request)] += 1

    with asyncio.Runner() as runner:
        attack()
    assert seen.total() >= 5000, seen
    assert (
        min(seen[code] for code in ("ok", "invalid_value", "unknown_parameter", "invalid_json", "unknown_url")) >= 50
    ), seen
    assert len(stack.records.rows) == sum(1 for row in stack.records.rows if row.status and row.latency_ms)

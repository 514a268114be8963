"""Surroundings for the HTTP layer: small fakes of its protocols, and a real server around it."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import uvicorn

from models.errors import InvalidRequest, NotFound
from models.types import GenerationRequest, Principal
from serving.api.deps import ApiDependencies, ModelListing, Readiness
from serving.api.routes import build_api
from serving.engines.answer import Answer
from serving.settings import HttpSettings, TimerSettings
from serving.store.keys import KeyRow
from serving.telemetry.record import CallRecord
from serving.tenancy.concurrency import KeyConcurrency
from serving.tenancy.keys import KeySpec
from tests.serving.api.wire import NARROW_BYTES

DONE = b"data: [DONE]\n\n"
CHUNK = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "demo-small",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
}
WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "demo-small",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
PRINCIPALS = {
    "good": Principal("key_good", "acme", "ann", "inference"),
    "other": Principal("key_other", "rival", "rob", "inference"),
    "one": Principal("key_one", "acme", "ann", "inference", concurrency=1),
    "narrow": Principal("key_narrow", "acme", "ann", "inference", models=frozenset({"demo-small"})),
    "scraper": Principal("key_scraper", "acme", "prom", "metrics"),
    "root": Principal("key_root", "acme", "ops", "admin"),
}


def event(value: Any = CHUNK) -> bytes:
    """One event as an engine sends it."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


class FakeKeys:
    """Knows the secrets above."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def find(self, secret: str) -> Principal | None:
        self.asked.append(secret)
        return PRINCIPALS.get(secret)


Script = Callable[[GenerationRequest], Awaitable[Answer]]


async def plain(request: GenerationRequest) -> Answer:
    """A good answer of the kind asked for."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield event()
        yield DONE

    headers = {"x-penstock-tier": "small"}
    return Answer(headers, stream=stream()) if request.stream else Answer(headers, body=json.dumps(WHOLE).encode())


class FakePipeline:
    """Does what its script says, and remembers what it was asked and whether it was cut short."""

    def __init__(self) -> None:
        self.script: Script = plain
        self.requests: list[GenerationRequest] = []
        self.cancelled = 0
        self.closed = 0

    async def answer(self, request: GenerationRequest, caller: Principal, *, record: CallRecord) -> Answer:
        self.requests.append(request)
        try:
            return await self.script(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def streams(self, make: Callable[[], AsyncGenerator[bytes, None]]) -> None:
        """Answer with this stream from now on."""

        async def watched() -> AsyncGenerator[bytes, None]:
            try:
                async for one in make():
                    yield one
            finally:
                self.closed += 1

        async def script(request: GenerationRequest) -> Answer:
            return Answer(stream=watched())

        self.script = script


class FakeRecords:
    """Keeps the rows and the opinions."""

    def __init__(self) -> None:
        self.rows: list[CallRecord] = []
        self.opinions: list[tuple[str, str]] = []
        self.running: set[str] = set()

    def begin(self, record: CallRecord) -> None:
        self.running.add(record.uid)

    def finish(self, record: CallRecord) -> None:
        self.running.remove(record.uid)
        self.rows.append(record)

    async def feedback(
        self, request_id: str, caller: Principal, *, rating: str, comment: str | None, corrected: str | None
    ) -> None:
        if not any(row.id == request_id and row.org == caller.org for row in self.rows):
            raise NotFound("No such request.", param="request_id")
        self.opinions.append((request_id, rating))


class FakeModels:
    """`auto` and two cards."""

    def visible(self, caller: Principal) -> Sequence[ModelListing]:
        names = [
            ModelListing("auto", 1),
            ModelListing("demo-small", 1, "small"),
            ModelListing("demo-large", 1, "large"),
        ]
        return [listing for listing in names if caller.may_use(listing.id)]

    def knows(self, name: str, caller: Principal) -> bool:
        return any(listing.id == name for listing in self.visible(caller))


class FakeReadiness:
    """Ready unless told otherwise."""

    def __init__(self) -> None:
        self.missing: tuple[str, ...] = ()

    async def report(self) -> Readiness:
        return Readiness(not self.missing, self.missing)


class FakeMetrics:
    """One figure."""

    async def exposition(self) -> bytes:
        return b"penstock_calls_total 1\n"


class FakeExplainer:
    """Says who asked what."""

    async def explain(self, request: GenerationRequest, caller: Principal) -> dict[str, Any]:
        return {"text": request.text, "model": request.model, "kind": request.kind, "role": caller.role}

    async def status(self, now: float) -> dict[str, Any]:
        return {"object": "router.status", "now": now}


class FakeKeyAdmin:
    """Keys in a list."""

    def __init__(self) -> None:
        self.rows: list[KeyRow] = []

    async def create(self, spec: KeySpec) -> tuple[KeyRow, str]:
        row = KeyRow(
            f"key_{len(self.rows)}",
            "0",
            "sk-",
            spec.name,
            spec.org,
            spec.user,
            spec.role,
            spec.models,
            spec.concurrency,
            1,
        )
        self.rows.append(row)
        return row, "sk-secret"

    async def list(self) -> Sequence[KeyRow]:
        return self.rows

    async def revoke(self, key_id: str) -> bool:
        if key_id == "key_last":
            raise InvalidRequest("This is the last admin key.", param="id")
        return any(row.id == key_id for row in self.rows)


@dataclass
class Stack:
    """The HTTP layer with everything around it in the test's hands."""

    keys: FakeKeys = field(default_factory=FakeKeys)
    pipeline: FakePipeline = field(default_factory=FakePipeline)
    records: FakeRecords = field(default_factory=FakeRecords)
    readiness: FakeReadiness = field(default_factory=FakeReadiness)
    key_admin: FakeKeyAdmin = field(default_factory=FakeKeyAdmin)
    limiter: KeyConcurrency = field(default_factory=KeyConcurrency)
    http: HttpSettings = field(default_factory=HttpSettings)
    timers: TimerSettings = field(default_factory=TimerSettings)

    def app(self) -> Any:
        """The application."""
        return build_api(
            ApiDependencies(
                keys=self.keys,
                key_admin=self.key_admin,
                limiter=self.limiter,
                pipeline=self.pipeline,
                records=self.records,
                models=FakeModels(),
                readiness=self.readiness,
                metrics=FakeMetrics(),
                explainer=FakeExplainer(),
                http=self.http,
                timers=self.timers,
                version="0.1.0",
            )
        )

    def client(self, key: str | None = "good") -> httpx2.AsyncClient:
        """A client that calls the application in this process."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        transport = httpx2.ASGITransport(app=self.app(), raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)

    def served(self, *, narrow: bool = False) -> AbstractAsyncContextManager[int]:
        """The application on a real server; gives its port."""
        return served(self.app(), narrow=narrow)

    def assert_refused(self, response: httpx2.Response, status: int, code: str, param: str | None = None) -> None:
        """One answer in the shape of every error, one row that says the same, and an engine that was not asked."""
        assert_error(response, status, code, param)
        self.assert_one_row(status, code)

    def assert_one_row(self, status: int, code: str) -> None:
        """The call that was refused is in the records, once, and reached no engine."""
        assert [(row.status, row.error_code) for row in self.records.rows] == [(status, code)]
        assert self.pipeline.requests == []


@asynccontextmanager
async def served(app: Any, *, narrow: bool = False) -> AsyncIterator[int]:
    """A real server on a free port of loopback.

    It closes no idle connection: a close that a test waits for is one that the application wanted.
    """
    settings: dict[str, Any] = {"http": "httptools", "log_config": None, "lifespan": "off", "ws": "none"}
    server = uvicorn.Server(uvicorn.Config(app, port=0, timeout_keep_alive=3600, **settings))
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn offers a flag and no event
            await asyncio.sleep(0.005)
        listening = server.servers[0].sockets[0]
        if narrow:  # what it accepts is narrow too
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW_BYTES)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        await task


@contextmanager
def processor_time() -> Iterator[Callable[[], float]]:
    """The processor seconds of this process since the start, as long as the block is open.

    No garbage collection falls into it: one of all that a test session holds takes longer than what is measured.
    """
    gc.disable()
    started = time.process_time()
    try:
        yield lambda: time.process_time() - started
    finally:
        gc.enable()


CHAT: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION: dict[str, Any] = {"model": "auto", "prompt": "hi"}

TYPES = {
    **dict.fromkeys((400, 401, 404, 405, 413, 414, 415, 431), "invalid_request_error"),
    **{403: "permission_error", 429: "rate_limit_error"},
    **dict.fromkeys((500, 502, 503, 504), "server_error"),
}


def error_in(body: bytes, status: int) -> dict[str, Any]:
    """The error that a body or a frame holds: the one shape, and the type that goes with its status."""
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    quota = error["code"] == "insufficient_quota"
    assert error["type"] == ("insufficient_quota" if quota else TYPES[status])
    return error


def assert_error(response: httpx2.Response, status: int, code: str, param: str | None = None) -> None:
    """The error contract of every refusal."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert len(response.content) <= 1024
    error = error_in(response.content, status)
    assert error["code"] == code
    if param is not None:
        assert error["param"] == param

"""Fakes that ship: an engine that speaks vLLM's protocol and fails as told, a fixed directory, a loopback server.

For tests and for measuring the gateway alone. Generates no language and applies no template.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
import uvicorn

from models.types import Endpoint

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

Fault = Literal[
    "status",  # answer `status` with `error` as its body
    "html",  # 200 with a page
    "silent",  # take the request, send nothing, not even headers
    "cut",  # end the TCP stream in the middle of the body
    "stall",  # send nothing more
    "malformed",  # an event that is no JSON
    "endless",  # one event that never ends
    "error_frame",  # vLLM's error event, then [DONE]
    "no_finish",  # a clean end without finish_reason and [DONE]
]


@dataclass(frozen=True, slots=True)
class Script:
    """How the engine behaves.

    Token `k` of a stream, from 0, is due `ttft_s + k * tpot_s` after its call came: a late one delays none behind it. A
    fault inside a stream strikes after `after` content chunks; `times` limits it.
    """

    ttft_s: float = 0.0
    tpot_s: float = 0.0
    tokens: int = 8
    word: str = "word "
    fault: Fault | None = None
    after: int = 0
    times: int | None = None
    status: int = 500
    error: Mapping[str, Any] = field(
        default_factory=lambda: {
            "error": {"message": "boom", "type": "InternalServerError", "param": None, "code": 500}
        }
    )
    retry_after_s: int | None = None


@dataclass(slots=True)
class Seen:
    """One request as the engine saw it. Times are monotonic seconds; `aborted_at`: the client was seen to leave."""

    path: str
    connection: tuple[str, int]
    headers: dict[str, str]
    body: dict[str, Any]
    at: float
    chunks: int = 0
    sent: bytes = b""
    aborted_at: float | None = None
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that happened: which, when (monotonic seconds), in which process."""

    fault: Fault
    at: float
    pid: int


class _Gone(Exception):
    """The client left."""


class _Cut(Exception):
    """The answer ends here without its end."""


class FakeEngine:
    """An ASGI app. Set `script` at any time; read `seen`, `struck` and `running` afterwards; `idle` is set at zero.

    `POST /script` replaces the script and `GET /seen` tells the counts, for an engine in another process.
    """

    def __init__(self, script: Script | None = None, *, token: str | None = None, keep_sent: bool = False) -> None:
        """`token`: refuse others with 401, as the replica's door does. `keep_sent`: keep each answer's bytes."""
        self.script = script or Script()
        self.seen: list[Seen] = []
        self.struck: list[Struck] = []
        self.running = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._token = token
        self._keep_sent = keep_sent

    @property
    def aborted(self) -> list[Seen]:
        """The requests whose client left before the end."""
        return [seen for seen in self.seen if seen.aborted_at is not None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        body = await _read(receive)
        if scope["path"] in ("/script", "/seen"):
            await self._control(body, send)
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._token is not None and headers.get("authorization") != f"Bearer {self._token}":
            await _answer(send, 401, payload={"error": {"message": "invalid_api_key", "code": "invalid_api_key"}})
            return
        if not body:  # a scrape, or a list of models: it has none to tell of
            await _start(send, 200, content_type="text/plain")
            await send({"type": "http.response.body", "body": b""})
            return
        seen = Seen(scope["path"], tuple(scope["client"]), headers, orjson.loads(body), time.monotonic())
        self.seen.append(seen)
        await self._watched(receive, send, seen=seen)

    async def _control(self, body: bytes, send: Send) -> None:
        if body:
            self.script = Script(**orjson.loads(body))
        counts = {"seen": len(self.seen), "struck": len(self.struck), "running": self.running, "pid": os.getpid()}
        await _answer(send, 200, payload=counts)

    async def _watched(self, receive: Receive, send: Send, *, seen: Seen) -> None:
        """Work until done or until the client leaves, whichever is first, as vLLM does."""
        self.running += 1
        self.idle.clear()
        work = asyncio.ensure_future(_Reply(self, seen, send=send).give())
        leave = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((work, leave), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                seen.aborted_at = time.monotonic()
        finally:
            self._leave()
            for task in (work, leave):
                task.cancel()
            results = await asyncio.gather(work, leave, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    def _leave(self) -> None:
        self.running -= 1
        if not self.running:
            self.idle.set()

    def strike(self, fault: Fault) -> bool:
        """Whether the script's fault is this one and still to happen; counts it."""
        script = self.script
        if script.fault != fault or (script.times is not None and len(self.struck) >= script.times):
            return False
        self.struck.append(Struck(fault, time.monotonic(), os.getpid()))
        return True


class _Reply:
    """One answer of the fake engine, in vLLM's shapes."""

    def __init__(self, engine: FakeEngine, seen: Seen, *, send: Send) -> None:
        self._engine = engine
        self._script = engine.script
        self._seen = seen
        self._send = send
        self._chat = seen.path.endswith("/chat/completions")
        wanted = seen.body.get("max_completion_tokens") or seen.body.get("max_tokens")
        self._tokens: int = min(self._script.tokens, wanted or self._script.tokens)
        self._head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{seen.headers.get('x-request-id', 'fake')}",
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": int(time.time()),
            "model": seen.body.get("model", "fake"),
        }

    async def give(self) -> None:
        """The whole answer, or as much of it as the script lets through."""
        if await self._refused():
            return
        if self._seen.body.get("stream"):
            await self._stream()
        else:
            await self._whole()
        self._seen.finished_at = time.monotonic()

    async def _refused(self) -> bool:
        script, engine = self._script, self._engine
        if engine.strike("silent"):
            await asyncio.Event().wait()
        if engine.strike("status"):
            await _answer(self._send, script.status, payload=script.error, retry_after_s=script.retry_after_s)
        elif engine.strike("html"):
            await _start(self._send, 200, content_type="text/html")
            await self._write(b"<html><body>It works!</body></html>", more=False)
        else:
            return False
        return True

    async def _stream(self) -> None:
        await _start(self._send, 200, content_type="text/event-stream; charset=utf-8")
        first = time.monotonic() + self._script.ttft_s
        await _until(first)
        if self._script.after < 0 and await self._struck():
            return
        if self._chat:
            await self._event(self._chunk({"role": "assistant", "content": ""}))
        for position in range(self._tokens):
            if position == self._script.after and await self._struck():
                return
            if position and self._script.tpot_s:
                await _until(first + position * self._script.tpot_s)
            last = position == self._tokens - 1
            await self._event(self._chunk({"content": self._script.word}, self._finish_reason() if last else None))
            self._seen.chunks += 1
        if (self._seen.body.get("stream_options") or {}).get("include_usage"):
            await self._event({**self._head, "choices": [], "usage": self._usage()})
        await self._write(b"data: [DONE]\n\n", more=False)

    async def _whole(self) -> None:
        await asyncio.sleep(self._script.ttft_s + self._script.tpot_s * (self._tokens - 1))
        text = self._script.word * self._tokens
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        choices = [
            {"index": index, **said, "logprobs": None, "finish_reason": self._finish_reason(), "stop_reason": None}
            for index in range(self._seen.body.get("n") or 1)
        ]
        kind = "chat.completion" if self._chat else "text_completion"
        body = orjson.dumps({**self._head, "object": kind, "choices": choices, "usage": self._usage()})
        await _start(self._send, 200)
        if self._engine.strike("cut"):
            await self._write(body[: self._script.after])
            raise _Cut
        if self._engine.strike("malformed"):
            body = body[: len(body) // 2]
        await self._write(body, more=False)

    async def _struck(self) -> bool:
        """Do the fault of a stream when it is due; True when the answer ends with it."""
        strike = self._engine.strike
        if strike("cut"):
            raise _Cut
        if strike("stall"):
            await asyncio.Event().wait()
        if strike("endless"):
            await self._write(b'data: {"choices":[{"delta":{"content":"')
            while True:
                await self._write(b"x" * 2**16)
                await asyncio.sleep(0)  # uvicorn takes writes to a closed connection without ever waiting
        if strike("malformed"):
            await self._write(b'data: {"choices": [{"delta"\n\n')
        elif strike("error_frame"):
            await self._event(dict(self._script.error))
            await self._write(b"data: [DONE]\n\n", more=False)
            return True
        elif strike("no_finish"):
            await self._write(b"", more=False)
            return True
        return False

    def _chunk(self, delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        said: dict[str, Any] = {"delta": delta} if self._chat else {"text": delta.get("content", "")}
        choices = [
            {"index": index, **said, "logprobs": None, "finish_reason": finish_reason}
            for index in range(self._seen.body.get("n") or 1)
        ]
        return {**self._head, "choices": choices}

    def _finish_reason(self) -> str:
        return "stop" if self._tokens == self._script.tokens else "length"

    def _usage(self) -> dict[str, Any]:
        prompt, completion = 7, self._tokens * (self._seen.body.get("n") or 1)
        return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}

    async def _event(self, payload: Mapping[str, Any]) -> None:
        await self._write(b"data: " + orjson.dumps(payload) + b"\n\n")

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        if self._engine._keep_sent:
            self._seen.sent += data
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


class StaticDirectory:
    """An `EndpointDirectory` over base URLs that tests change at will."""

    def __init__(self, base_urls: Mapping[str, Sequence[str]]) -> None:
        """`base_urls`: card → where its replicas listen."""
        self.base_urls: dict[str, list[str]] = {card: list(urls) for card, urls in base_urls.items()}

    def endpoints(self, card: str) -> Sequence[Endpoint]:
        """The replicas of a card; a replica's name is its address."""
        return [Endpoint(card, url.removeprefix("http://"), url) for url in self.base_urls.get(card, ())]


def free_socket() -> socket.socket:
    """A socket bound to a free loopback port."""
    # With the protocol named: asyncio sets TCP_NODELAY on no other socket, and each small write would wait 40 ms.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    return bound


ACCEPTING_TURNS = 5
"""Turns of the loop from a connection's arrival to its end: accepted, transport made, protocol told, cut, closed."""


@asynccontextmanager
async def serve(app: AsgiApp, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI app with uvicorn in this loop; yields its base URL. `options` go to `uvicorn.Config`."""
    config = uvicorn.Config(app, **{"log_level": "critical", "lifespan": "off", **options})
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    bound = free_socket()
    await server.startup(sockets=[bound])
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        await _stop(server)
        bound.close()


async def _stop(server: uvicorn.Server) -> None:
    """Uvicorn's own shutdown, without its fixed wait of 0.1 s and without mercy for what still runs."""
    for listener in server.servers:
        listener.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    tasks = list(server.server_state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for _turn in range(ACCEPTING_TURNS):
        await asyncio.sleep(0)
        for connection in list(server.server_state.connections):
            connection.transport.abort()
    await server.lifespan.shutdown()


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _until(due: float) -> None:
    """Sleep until `time.monotonic()` is `due`; where that is past, give way once."""
    await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _start(
    send: Send, status: int, *, content_type: str = "application/json", retry_after_s: int | None = None
) -> None:
    headers = [(b"content-type", content_type.encode())]
    if retry_after_s is not None:
        headers.append((b"retry-after", str(retry_after_s).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _answer(send: Send, status: int, *, payload: Mapping[str, Any], retry_after_s: int | None = None) -> None:
    await _start(send, status, retry_after_s=retry_after_s)
    await send({"type": "http.response.body", "body": orjson.dumps(payload)})

"""One request to an OpenAI-compatible server, streamed, and what the client saw of it: times, tokens, how it ended.

Owns the wire as a client reads it. Decides nothing about when or what.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

UNREACHABLE = "unreachable"
OUT_OF_FILES = "client out of file descriptors"
DONE = b"[DONE]"


@dataclass(slots=True)
class Call:
    """One request. Times are seconds since the run's start on the client's monotonic clock.

    `chunks_s` holds the arrival of every piece of content. `error` is None for an answer that came to its end.
    `model` is what the server says that it was, `asked_model` what it was asked for.
    """

    number: int
    due_s: float | None = None
    sent_s: float = 0.0
    chunks_s: list[float] = field(default_factory=list)
    ended_s: float = 0.0
    status: int | None = None
    error: str | None = None
    detail: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    request_id: str | None = None
    tier: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    asked_model: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go. `url` has no path behind the host but what stands before `/v1`.

    `models`: the names that requests are spread over, and `model` the pattern that they fit; empty where it is one.
    """

    url: str
    model: str
    key: str | None = None
    api: str = "chat"
    models: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What is asked, for people."""
        return f"{len(self.models):,} models like {self.model}" if self.models else f"Model {self.model}"

    @property
    def endpoint(self) -> str:
        """The URL of the endpoint."""
        return f"{self.url}/v1/{'chat/completions' if self.api == 'chat' else 'completions'}"

    @property
    def headers(self) -> dict[str, str]:
        """The credential."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


class Caller:
    """Sends requests over one pool of connections. Use `clock` for the run's time.

    `started_at`: the zero of that clock, in seconds since the epoch.
    """

    def __init__(self, session: aiohttp.ClientSession, address: Address, *, timeout_s: float) -> None:
        self._session = session
        self._address = address
        self._timeout_s = timeout_s
        self._start, self.started_at = time.perf_counter(), time.time()

    def clock(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    async def send(self, call: Call, body: Mapping[str, Any]) -> Call:
        """Send it and read the answer to its end. Never raises for what the server does: it is written down."""
        raw = orjson.dumps(body)
        call.sent_s = self.clock()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._exchange(call, raw)
        except TimeoutError:
            call.error = "timeout"
        except aiohttp.ClientConnectorError as error:
            own = error.os_error.errno in (errno.EMFILE, errno.ENFILE)
            call.error, call.detail = OUT_OF_FILES if own else UNREACHABLE, str(error)
        except (aiohttp.ClientError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            call.error, call.detail = "cut", f"{type(error).__name__}: {error}"[:200]
        call.ended_s = self.clock()
        return call

    async def _exchange(self, call: Call, raw: bytes) -> None:
        headers = {**self._address.headers, "Content-Type": "application/json"}
        async with self._session.post(self._address.endpoint, data=raw, headers=headers) as answer:
            call.status = answer.status
            call.request_id = answer.headers.get("x-request-id")
            call.tier = answer.headers.get("x-penstock-tier")
            if answer.status != 200:
                text = (await answer.content.read(4096)).decode(errors="replace")
                call.error, call.detail = f"status {answer.status}", message_of(text)
                return
            over = False
            async for event in events(answer.content):  # to the very end, or the connection could not be used again
                over = over or event == DONE
                if not over:
                    self._take(call, event)
        if call.error is None and call.finish_reason is None:
            call.error = "cut"

    def _take(self, call: Call, event: bytes) -> None:
        value = orjson.loads(event)
        if "error" in value:
            call.error, call.detail = "error frame", str(value["error"])[:200]
            return
        call.model = value.get("model") or call.model
        for choice in value.get("choices") or ():
            if has_content(choice):
                call.chunks_s.append(self.clock())
            call.finish_reason = choice.get("finish_reason") or call.finish_reason
        if usage := value.get("usage"):
            call.input_tokens, call.output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
            call.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")


def has_content(choice: Mapping[str, Any]) -> bool:
    """Whether a choice of a chunk carries anything of the answer, not only its role or its end."""
    delta = choice.get("delta") or choice
    return any(delta.get(name) for name in ("content", "text", "tool_calls", "reasoning", "reasoning_content"))


async def events(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The data of every server-sent event; comments and other fields are skipped."""
    rest = b""
    async for piece in stream.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def message_of(text: str) -> str:
    """What an error body says, in OpenAI's shape or any other."""
    try:
        return str(orjson.loads(text)["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return text[:300]

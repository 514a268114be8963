"""Server-sent events of an engine: cut from the byte stream whole, read just enough, passed on unchanged.

Pure: bytes in, bytes out, no I/O and no clock. Does not own the connection (`relay`) or the record. Per-token code.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from models.types import RequestKind, Usage
from serving.engines import failures
from serving.engines.failures import EngineComplaint, Failure

LONGEST_EVENT_BYTES = 2 * 2**20  # `echo` with `logprobs` puts those of a whole prompt into one event; more is memory
_DATA = b"data: "
_DONE = b"data: [DONE]"
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)  # bytes that are no UTF-8 are a ValueError

T = TypeVar("T")


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None

    def value(self) -> Usage:
        """As the record wants it."""
        details = self.prompt_tokens_details
        return Usage(self.prompt_tokens, self.completion_tokens or 0, (details and details.cached_tokens) or 0)


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: EngineComplaint | str | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class EventReader:
    """Follows one stream. After `feed`, `failure` says whether the engine broke the protocol or reported an error."""

    __slots__ = (
        "_drop_usage",
        "_kind",
        "_open",
        "_tail",
        "_texts",
        "chunks",
        "done",
        "failure",
        "finish_reason",
        "usage",
    )

    def __init__(self, kind: RequestKind, *, drop_usage: bool, keep_text: bool) -> None:
        """`drop_usage`: the usage chunk was our wish, not the client's, and is not passed on."""
        self._kind = kind
        self._drop_usage = drop_usage
        self._tail = bytearray()
        self._open: dict[int, bool] = {}
        self._texts: dict[int, list[str]] | None = {} if keep_text else None
        self.chunks = 0
        self.done = False
        self.failure: Failure | None = None
        self.finish_reason: str | None = None
        self.usage: Usage | None = None

    @property
    def text(self) -> str | None:
        """What the engine has said so far, choices one after the other; None unless it was to be kept."""
        if self._texts is None:
            return None
        return _whole_characters("\n\n".join("".join(parts) for _, parts in sorted(self._texts.items())))

    def feed(self, data: bytes) -> bytes:
        """The whole events in `data` (and the tail before it) that go on to the client; b"" when there is none yet."""
        if self._tail:
            seam = len(self._tail) - 1
            self._tail += data
            if self._tail.find(b"\n\n", seam) < 0:
                return self._hold()
            data = bytes(self._tail)
            self._tail.clear()
        end = data.rfind(b"\n\n") + 2
        if end == 1:
            self._tail += data
            return self._hold()
        if end == len(data) and data.find(b"\n\n") == end - 2:  # one whole event: what an engine writes at a time
            return data if self._passes(data[:-2]) else b""
        self._tail += data[end:]
        events = data[: end - 2].split(b"\n\n")
        kept = [event for event in events if self._passes(event)]
        if len(kept) == len(events):
            return data if end == len(data) else data[:end]
        return b"\n\n".join((*kept, b"")) if kept else b""

    def end(self) -> None:
        """The engine closed the stream: a failure unless it had said [DONE]."""
        if not self.done and self.failure is None:
            self.failure = failures.lost(f"stream ended after {self.chunks} chunks, {len(self._tail)} bytes unfinished")

    def _hold(self) -> bytes:
        if len(self._tail) > LONGEST_EVENT_BYTES:
            self._tail.clear()
            self.failure = failures.unanswerable(f"event longer than {LONGEST_EVENT_BYTES} bytes")
        return b""

    def _passes(self, event: bytes) -> bool:
        """Read one event; False for what the client does not get: comments, our usage chunk, all after a failure."""
        if self.failure is not None or self.done:
            return False
        if not event.startswith(_DATA):
            if event.startswith(b":"):
                return False
            return self._break(f"not an event: {event[:80]!r}")
        if event == _DONE:
            return self._finish()
        try:
            chunk = _CHUNK.decode(event[6:])
        except _UNREADABLE as error:
            again = _with_halves(event[6:], _Chunk)
            if again is None:
                return self._break(f"{error}: {event[:80]!r}")
            chunk = again
        if chunk.choices:
            self._follow(chunk.choices)
        elif chunk.choices is None:
            return self._no_choices(chunk, event)
        if chunk.usage is not None:
            self.usage = chunk.usage.value()
            return bool(chunk.choices) or not self._drop_usage
        return True

    def _follow(self, choices: list[_Choice]) -> None:
        for choice in choices:
            delta = choice.delta
            said = choice.text if delta is None else delta.content
            if said or delta is None or delta.role is None:
                self.chunks += 1
            if choice.finish_reason is None:
                self._open.setdefault(choice.index, True)
            else:
                self._open[choice.index] = False
                self.finish_reason = self.finish_reason or choice.finish_reason
            if said and self._texts is not None:
                self._texts.setdefault(choice.index, []).append(said)

    def _finish(self) -> bool:
        """[DONE] counts only when every choice has said why it ended."""
        if not self._open or any(self._open.values()):
            self.failure = failures.lost("[DONE] without a finish_reason")
            return False
        self.done = True
        return True

    def _no_choices(self, chunk: _Chunk, event: bytes) -> bool:
        if chunk.error is None:
            return self._break(f"neither choices nor error: {event[:80]!r}")
        self.failure = failures.from_event(chunk.error, kind=self._kind)
        return False

    def _break(self, detail: str) -> bool:
        self.failure = failures.bad_response(detail)
        return False


class _Message(msgspec.Struct):
    content: str | None = None


class _BodyChoice(msgspec.Struct):
    finish_reason: str
    message: _Message | None = None
    text: str | None = None

    def said(self) -> str:
        """The choice's text."""
        return (self.text if self.message is None else self.message.content) or ""


class WholeBody(msgspec.Struct):
    """What the record wants of an answer that is not streamed; anything that does not decode into it is no answer."""

    choices: list[_BodyChoice]
    usage: _Usage

    @property
    def text(self) -> str:
        """All choices, one after the other."""
        return _whole_characters("\n\n".join(choice.said() for choice in self.choices))


_BODY = msgspec.json.Decoder(WholeBody)


def read_body(body: bytes) -> WholeBody:
    """Decode a whole answer; raises `UpstreamError` (`upstream_bad_response`) for what is none."""
    try:
        answer = _BODY.decode(body)
    except _UNREADABLE as error:
        again = _with_halves(body, WholeBody)
        if again is None:
            raise failures.bad_response(f"{error}: {body[:80]!r}") from error
        answer = again
    if not answer.choices:
        raise failures.bad_response("an answer without choices")
    return answer


def _with_halves(data: bytes, kind: type[T]) -> T | None:
    """A second reading of what msgspec refuses: half a surrogate pair is JSON. None when this was not the reason.

    An engine may cut its text between the two escapes of one character; the client puts them together again.
    """
    if not _HALF.search(data):
        return None
    try:
        return msgspec.convert(json.loads(data.decode(), parse_constant=_no_constant), kind)
    except _UNREADABLE:
        return None


def _no_constant(name: str) -> Any:
    """NaN and the infinities are no JSON, whatever Python thinks."""
    raise ValueError(name)


def _whole_characters(text: str) -> str:
    """Halves that met are their character; U+FFFD stands for one left alone, which no database stores."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

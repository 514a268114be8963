"""What is asked and answered while costs are counted: one request, and an engine's answer to it piece by piece.

Pure. The shapes are vLLM's; ids and times have a fixed width, so that the bytes of two runs are equally many.
"""

from __future__ import annotations

from typing import Any

import orjson

PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
WORD = "word "
PROMPT = "How many words does it take to fill a line of sixty-four characters?"
MODEL = "engine"
CREATED = 1_790_000_000


def request(path: str, *, model: str, key: str, stream: bool, chunks: int) -> bytes:
    """A whole HTTP request as a client sends it; `chunks` is the length of the answer it asks for."""
    said: dict[str, Any] = {"prompt": PROMPT}
    if path == PATHS["chat"]:
        said = {"messages": [{"role": "user", "content": PROMPT}]}
    body = orjson.dumps({"model": model, **said, "max_tokens": chunks, "temperature": 0, "stream": stream})
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\naccept: application/json\r\n"
        f"content-type: application/json\r\nuser-agent: penstock-bench\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def answer(path: str, *, stream: bool, chunks: int) -> list[bytes]:
    """What an engine writes, one write after the other; `chunks` is the length in tokens."""
    chat = path == PATHS["chat"]
    usage = {"prompt_tokens": 20, "total_tokens": 20 + chunks, "completion_tokens": chunks}
    if not stream:
        return [_whole(chat, chunks=chunks, usage=usage)]
    kind = "chat.completion.chunk" if chat else "text_completion"
    start = {"id": "cmpl-0", "object": kind, "created": CREATED, "model": MODEL}
    events = [_event(start, chat, text=WORD, last=number == chunks - 1) for number in range(chunks)]
    if chat:
        role = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        events.insert(0, _sse({**start, "choices": [role]}))
    end = _framed(_sse({**start, "choices": [], "usage": usage})) + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    head = _head(b"content-type: text/event-stream; charset=utf-8", b"transfer-encoding: chunked")
    return [head + _framed(events[0]), *map(_framed, events[1:]), end]


def _event(start: dict[str, Any], chat: bool, *, text: str, last: bool) -> bytes:
    said: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
    return _sse(
        {**start, "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": "length" if last else None}]}
    )


def _whole(chat: bool, *, chunks: int, usage: dict[str, int]) -> bytes:
    text = WORD * chunks
    said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    choice = {"index": 0, **said, "logprobs": None, "finish_reason": "length"}
    kind = "chat.completion" if chat else "text_completion"
    body = orjson.dumps(
        {"id": "cmpl-0", "object": kind, "created": CREATED, "model": MODEL, "choices": [choice], "usage": usage}
    )
    return _head(b"content-type: application/json", b"content-length: %d" % len(body)) + body


def _head(*fields: bytes) -> bytes:
    lines = (b"HTTP/1.1 200 OK", b"date: Wed, 25 Nov 2026 12:00:00 GMT", b"server: uvicorn", *fields)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _sse(payload: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def _framed(data: bytes) -> bytes:
    """One chunk of chunked transfer coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)

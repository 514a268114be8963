"""What an engine's failure means to a caller: one `PenstockError` for every status, error event and lost connection.

Owns the mapping and the cleaning of engine text. Does not decide whether to try again (`attempts`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from models.errors import InvalidRequest, PenstockError, Unavailable, UpstreamError
from models.types import RequestKind

LONGEST_TEXT = 200
LONGEST_RETRY_AFTER_S = 120.0

_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][\w.@~+-]+){2,}[/\\]?")
_LONG_QUOTE = re.compile(r"(['\"])(?:(?!\1).){65,}\1")
_ECHO = re.compile(r"[,(\[{]?\s*['\"]?(?:input|input_value|body)['\"]?\s*[=:].*", re.DOTALL)
_CONTEXT = ("context length", "max_model_len", "input_tokens", "input_text")
_DOOR = {
    "overloaded": "The engine's queue is full.",
    "server_shutting_down": "The engine replica is shutting down.",
}


class EngineComplaint(msgspec.Struct):
    """The inside of an engine's error object: vLLM sends an integer code, the replica's door a word."""

    message: str = ""
    type: str = ""
    param: str | None = None
    code: int | str | None = None


class _Envelope(msgspec.Struct):
    error: EngineComplaint | str | None = None


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def from_status(status: int, body: bytes, *, headers: Mapping[str, str], kind: RequestKind) -> PenstockError:
    """The error for an answer that is no 200. Only 400 and 422 are the client's: the rest is between us and the
    engine.
    """
    complaint = _complaint(body)
    detail = f"status {status}: {complaint.message[:500] or body[:200]!r}"
    if status in (400, 422):
        return _refusal(complaint, detail, kind=kind)
    if isinstance(complaint.code, str) and complaint.code in _DOOR:
        return Unavailable(
            _DOOR[complaint.code], code=complaint.code, detail=detail, retry_after_s=_retry_after(headers)
        )
    if status == 503 or "EngineDead" in complaint.message + complaint.type:
        return no_capacity(detail)
    if status in (500, 401, 403, 404, 405):
        return raised(detail)
    return bad_response(detail)


def from_event(complaint: EngineComplaint | str, *, kind: RequestKind) -> PenstockError:
    """The error for an `error` event inside a stream that answered 200."""
    if isinstance(complaint, str):
        return raised(complaint[:500])
    detail = f"error event {complaint.code}: {complaint.message[:500]}"
    if complaint.code in (400, 422) and complaint.type == "BadRequestError" and complaint.param is not None:
        return _refusal(complaint, detail, kind=kind)
    return raised(detail)


def no_capacity(detail: str, *, retry_after_s: float = 2.0) -> Unavailable:
    """No replica could be reached, or none is there."""
    return Unavailable(
        "No engine replica can take this request now.", code="no_capacity", detail=detail, retry_after_s=retry_after_s
    )


def raised(detail: str) -> UpstreamError:
    """The engine failed on this request."""
    return UpstreamError("The engine failed on this request.", code="engine_error", detail=detail)


def lost(detail: str) -> UpstreamError:
    """The connection to the replica ended before the answer did, or never came to be."""
    return UpstreamError("The engine was lost before the answer was complete.", code="upstream_lost", detail=detail)


def stalled(silence_s: float) -> UpstreamError:
    """The engine went silent inside an answer."""
    detail = f"no event for {silence_s:g} s"
    return UpstreamError("The engine stopped sending tokens.", code="upstream_stalled", detail=detail)


def timed_out(detail: str) -> UpstreamError:
    """No first token in time, or the whole call took too long."""
    return UpstreamError("The engine did not answer in time.", code="upstream_timeout", detail=detail)


def bad_response(detail: str) -> UpstreamError:
    """The engine answered something that is not its protocol."""
    return UpstreamError("The engine sent an answer that cannot be read.", code="upstream_bad_response", detail=detail)


def cleaned(text: str) -> str:
    """Engine text that may be shown: one line, no path, no echoed input, plain ASCII, at most 200 characters."""
    line = _ECHO.sub("", text.strip().split("\n", 1)[0])
    line = _LONG_QUOTE.sub("'...'", _PATH.sub("...", line))
    line = " ".join(line.encode("ascii", "backslashreplace").decode().split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 3].rstrip() + "..."


def _complaint(body: bytes) -> EngineComplaint:
    try:
        error = _ENVELOPE.decode(body).error
    except msgspec.MsgspecError:
        return EngineComplaint()
    if isinstance(error, str):
        return EngineComplaint(message=error)
    return error or EngineComplaint()


def _refusal(complaint: EngineComplaint, detail: str, *, kind: RequestKind) -> InvalidRequest:
    public = cleaned(complaint.message) or "The engine refuses this request."
    if any(mark in complaint.message or mark == complaint.param for mark in _CONTEXT):
        param = "messages" if kind == "chat" else "prompt"
        return InvalidRequest(public, code="context_length_exceeded", param=param, detail=detail)
    return InvalidRequest(public, code="invalid_value", param=complaint.param, detail=detail)


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return 1.0
    return min(max(seconds, 1.0), LONGEST_RETRY_AFTER_S)

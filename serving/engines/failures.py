"""What an engine's failure means: one `Failure` for every status, error event, lost connection and limit.

Owns the mapping, whose fault each failure is, and the cleaning of engine text. Does not draw the consequences: `relay`
marks the replica, `attempts` tries again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Self

import msgspec

from models.errors import InvalidRequest, PenstockError, Unavailable, UpstreamError
from models.types import RequestKind

LONGEST_TEXT = 200
LONGEST_RETRY_AFTER_S = 120.0

_PATH = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][\w.@~+-]+){2,}[/\\]?")
_LONG_QUOTE = re.compile(r"(['\"])(?:(?!\1).){65,}\1")
_ECHO = re.compile(r"[,(\[{]?\s*['\"]?(?:input|input_value|body)['\"]?\s*[=:].*", re.DOTALL)
_CONTEXT = ("context length", "max_model_len", "input_tokens", "input_text")
_DEAD = ("EngineDead", "EngineCore encountered an issue")  # vLLM's name and its words for an engine that has died

Fault = Literal["replica", "leaving", "request", "nobody"]


class Failure(PenstockError):
    """An attempt that gave no answer. `fault` says whose doing it is, and so what follows.

    `replica`: it broke; one step nearer to an open breaker, and another one is asked. `leaving`: it shuts down; tried
    last for a while, and another one is asked. `nobody`: full, or out of time; no mark, and another one is asked.
    `request`: every replica would fail on it; no mark, and no other one is asked.
    """

    fault: Fault = "replica"

    def blaming(self, fault: Fault) -> Self:
        """The same failure as somebody else's doing."""
        self.fault = fault
        return self


class Refusal(Failure, InvalidRequest):
    """The engine does not take what the client sent."""

    fault: Fault = "request"


class Absence(Failure, Unavailable):
    """No engine can take the request now."""


class Breakdown(Failure, UpstreamError):
    """The engine took the request and gave no answer, or none that can be used."""


_DOOR: dict[str, tuple[str, Fault]] = {
    "overloaded": ("The engine's queue is full.", "nobody"),
    "server_shutting_down": ("The engine replica is shutting down.", "leaving"),
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


def from_status(status: int, body: bytes, *, headers: Mapping[str, str], kind: RequestKind) -> Failure:
    """The error for an answer that is no 200. Only 400 and 422 are the client's to hear of: the rest is between us and
    the engine. `headers`: by their names in lower case.
    """
    complaint = _complaint(body)
    detail = f"status {status}: {complaint.message[:500] or body[:200]!r}"
    if status in (400, 422):
        return _refusal(complaint, detail, kind=kind)
    if isinstance(complaint.code, str) and complaint.code in _DOOR:
        public, fault = _DOOR[complaint.code]
        full = Absence(public, code=complaint.code, detail=detail, retry_after_s=_retry_after(headers))
        return full.blaming(fault)
    if complaint.code in ("adapter_failed", "adapter_loading"):  # the replica is well: another may have the adapter
        return no_capacity(detail).blaming("nobody")
    if status == 503 or _is_dead(complaint):
        return no_capacity(detail)
    if status in (500, 401, 403, 404, 405):
        return raised(detail)
    return unanswerable(detail) if status == 501 else bad_response(detail)


def from_event(complaint: EngineComplaint | str, *, kind: RequestKind) -> Failure:
    """The error for an `error` event inside a stream that answered 200."""
    if isinstance(complaint, str):
        return raised(complaint[:500])
    detail = f"error event {complaint.code}: {complaint.message[:500]}"
    if complaint.code in (400, 422) and complaint.type == "BadRequestError" and complaint.param is not None:
        return _refusal(complaint, detail, kind=kind)
    return lost(detail) if _is_dead(complaint) else raised(detail)


def no_capacity(detail: str, *, retry_after_s: float = 2.0) -> Absence:
    """No replica could be reached, or none is there."""
    return Absence(
        "No engine replica can take this request now.", code="no_capacity", detail=detail, retry_after_s=retry_after_s
    )


def raised(detail: str) -> Breakdown:
    """The engine failed on this request."""
    return Breakdown("The engine failed on this request.", code="engine_error", detail=detail)


def lost(detail: str) -> Breakdown:
    """The connection to the replica ended before the answer did, or never came to be."""
    return Breakdown("The engine was lost before the answer was complete.", code="upstream_lost", detail=detail)


def stalled(silence_s: float) -> Breakdown:
    """The engine went silent inside an answer."""
    detail = f"no event for {silence_s:g} s"
    return Breakdown("The engine stopped sending tokens.", code="upstream_stalled", detail=detail)


def timed_out(detail: str) -> Breakdown:
    """No sign of an answer in time."""
    return Breakdown("The engine did not answer in time.", code="upstream_timeout", detail=detail)


def out_of_time(left_s: float) -> Breakdown:
    """The call's whole time is over: a healthy engine may have been at work on a long answer until then."""
    return timed_out(f"the whole call took too long: not done after the last {left_s:.3g} s").blaming("nobody")


def bad_response(detail: str) -> Breakdown:
    """The engine answered something that is not its protocol."""
    return Breakdown("The engine sent an answer that cannot be read.", code="upstream_bad_response", detail=detail)


def unanswerable(detail: str) -> Breakdown:
    """The request asks for more than an engine, or this gateway, can give: the same on every replica."""
    return bad_response(detail).blaming("request")


def cleaned(text: str) -> str:
    """Engine text that may be shown: one line, no path, no echoed input, plain ASCII, at most 200 characters."""
    line = _ECHO.sub("", text.strip().split("\n", 1)[0])
    line = _LONG_QUOTE.sub("'...'", _PATH.sub("...", line))
    line = " ".join(line.encode("ascii", "backslashreplace").decode().split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 3].rstrip() + "..."


def _is_dead(complaint: EngineComplaint) -> bool:
    return any(mark in complaint.message + complaint.type for mark in _DEAD)


def _complaint(body: bytes) -> EngineComplaint:
    try:
        error = _ENVELOPE.decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return EngineComplaint()
    if isinstance(error, str):
        return EngineComplaint(message=error)
    return error or EngineComplaint()


def _refusal(complaint: EngineComplaint, detail: str, *, kind: RequestKind) -> Refusal:
    public = cleaned(complaint.message) or "The engine refuses this request."
    if any(mark in complaint.message or mark == complaint.param for mark in _CONTEXT):
        param = "messages" if kind == "chat" else "prompt"
        return Refusal(public, code="context_length_exceeded", param=param, detail=detail)
    return Refusal(public, code="invalid_value", param=complaint.param, detail=detail)


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return 1.0
    return min(max(seconds, 1.0), LONGEST_RETRY_AFTER_S)

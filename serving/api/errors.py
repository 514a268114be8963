"""Every error a caller can meet over HTTP: code → status and type, the envelope, its headers, the frame in a stream.

Owns what an error looks like on the wire. Does not own what can go wrong: whoever meets it raises `models.errors`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import MappingProxyType

import orjson
from starlette.responses import Response

from models.errors import PenstockError

INVALID = "invalid_request_error"
SERVER = "server_error"
ECHO_LIMIT = 64

CODES = MappingProxyType(
    {
        "invalid_json": (400, INVALID),
        "invalid_value": (400, INVALID),
        "missing_required_parameter": (400, INVALID),
        "unknown_parameter": (400, INVALID),
        "context_length_exceeded": (400, INVALID),
        "content_policy_violation": (400, INVALID),
        "adapter_invalid": (400, INVALID),
        "already_exists": (400, INVALID),
        "file_in_use": (400, INVALID),
        "upload_incomplete": (400, INVALID),
        "idempotency_mismatch": (400, INVALID),
        "ambiguous_credentials": (400, INVALID),
        "invalid_host": (400, INVALID),
        "invalid_api_key": (401, INVALID),
        "insufficient_permissions": (403, "permission_error"),
        "model_not_found": (404, INVALID),
        "not_found": (404, INVALID),
        "unknown_url": (404, INVALID),
        "method_not_allowed": (405, INVALID),
        "request_too_large": (413, INVALID),
        "uri_too_long": (414, INVALID),
        "unsupported_media_type": (415, INVALID),
        "headers_too_large": (431, INVALID),
        "rate_limit_exceeded": (429, "rate_limit_error"),
        "insufficient_quota": (429, "insufficient_quota"),
        "internal_error": (500, SERVER),
        "engine_error": (500, SERVER),
        "upstream_bad_response": (502, SERVER),
        "upstream_lost": (502, SERVER),
        "upstream_stalled": (504, SERVER),
        "upstream_timeout": (504, SERVER),
        "overloaded": (503, SERVER),
        "no_capacity": (503, SERVER),
        "accounting_unavailable": (503, SERVER),
        "guardrail_unavailable": (503, SERVER),
        "index_unavailable": (503, SERVER),
        "server_shutting_down": (503, SERVER),
    }
)

GENERIC = MappingProxyType(
    {
        "internal_error": "The server met an error. Give the x-request-id of this answer to its operator.",
        "engine_error": "The model failed on this request.",
        "upstream_bad_response": "The model's engine gave an answer that cannot be used.",
        "upstream_lost": "The model's engine went away before the answer was complete.",
        "upstream_stalled": "The model's engine stopped in the middle of the answer.",
        "upstream_timeout": "The model's engine did not answer in time.",
        "overloaded": "Too many requests are waiting. Try again after the time in Retry-After.",
        "no_capacity": "No engine can take this request now. Try again after the time in Retry-After.",
        "accounting_unavailable": "The request cannot be accounted for now. Try again later.",
        "guardrail_unavailable": "The request cannot be checked now. Try again later.",
        "index_unavailable": "The index cannot be read now. Try again later.",
        "server_shutting_down": "This server is shutting down. Try again.",
    }
)


class MethodNotAllowed(PenstockError):
    """The path exists, the method does not; `allowed` are those that do."""

    default_code = "method_not_allowed"

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__("This path does not take this method.")
        self.headers = {"allow": ", ".join(sorted(allowed))}


def known(error: PenstockError) -> str:
    """The error's code if the table has it; any other code is ours alone and leaves as `internal_error`."""
    return error.code if error.code in CODES else "internal_error"


def envelope(error: PenstockError) -> bytes:
    """The body of every error. From 500 on, the words are generic: what happened is in the log. An error that says
    `told` was met on an operator's path, where the operator is told which replica it was.
    """
    code = known(error)
    status, kind = CODES[code]
    message = error.public if status < 500 or getattr(error, "told", False) else GENERIC[code]
    param = error.param if error.param is None else echo(error.param)
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def frame(error: PenstockError) -> bytes:
    """The last event of a stream that failed; `[DONE]` never follows it."""
    return b"data: " + envelope(error) + b"\n\n"


def refusal(error: PenstockError, *, close: bool = False) -> Response:
    """The whole answer: status, headers and envelope."""
    code = known(error)
    status, _ = CODES[code]
    response = Response(envelope(error), status_code=status, media_type="application/json")
    response.headers.update(getattr(error, "headers", {}))
    if close:
        response.headers["connection"] = "close"
    if code == "invalid_api_key":
        response.headers["www-authenticate"] = "Bearer"
    elif code == "insufficient_quota":
        response.headers["x-should-retry"] = "false"
    elif status in (429, 503):
        response.headers["retry-after"] = str(_retry_after(error.retry_after_s))
    return response


def _retry_after(seconds: float | None) -> int:
    """Whole seconds; beyond 120 the OpenAI SDK stops its retries."""
    return min(max(math.ceil(seconds or 1), 1), 120)


def echo(value: str) -> str:
    """At most 64 characters of what the caller sent, in ASCII."""
    escaped = value.encode("ascii", "backslashreplace").decode("ascii")
    printable = escaped[:ECHO_LIMIT]
    if not printable.isprintable():
        printable = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in printable)
    return printable if len(printable) <= ECHO_LIMIT else printable[: ECHO_LIMIT - 3] + "..."

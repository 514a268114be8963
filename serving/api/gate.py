"""What is refused before routing: over-long targets and header blocks, doubtful hosts and targets, too large bodies.

Owns the checks on the request line and headers alone. Does not own keys (`access`) or what a body says (`body`).
"""

from __future__ import annotations

import re

from starlette.types import Scope

from models.errors import InvalidRequest, PenstockError
from serving.settings import HttpSettings

# A name or IPv4 address, or an IPv6 address in brackets, and an optional port; nothing a URL parser could split.
_HOST = re.compile(rb"(?:[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LINE_EXTRA = 4  # ": " and CRLF of each header line
_CLOSING = frozenset({"headers_too_large", "invalid_host", "upload_incomplete", "uri_too_long"})
# A body this many times the limit is not read to its end for the sake of keeping the connection.
_DRAINABLE = 4


class Gate:
    """Raises for a request that must not reach a route."""

    def __init__(self, limits: HttpSettings) -> None:
        self._limits = limits
        self._hosts = frozenset(host.lower().encode() for host in limits.allowed_hosts)

    def check(self, scope: Scope, target: bytes | None) -> None:
        """`target` as the client wrote it, where the server shows it."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._check_target(scope, target)
        self._check_header_block(headers)
        self._check_host(headers)
        limit = self._limits.max_upload_bytes if is_upload(scope) else self._limits.max_body_bytes
        if (declared := declared_length(headers)) is not None and declared > limit:
            raise too_large(limit)

    def closes(self, error: PenstockError, scope: Scope) -> bool:
        """Whether the connection ends with this refusal: its framing is in doubt, or its body too long to drain."""
        if error.code == "request_too_large" or is_upload(scope):
            declared = declared_length(scope["headers"])
            return declared is None or declared > _DRAINABLE * self._limits.max_body_bytes
        return error.code in _CLOSING

    def _check_target(self, scope: Scope, target: bytes | None) -> None:
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        if target is not None and not target.partition(b"?")[0].endswith(path):
            target = None  # of the next request in the pipe: the server has read ahead
        length = len(target) if target is not None else len(path) + 1 + len(scope.get("query_string", b""))
        if length > self._limits.max_target_bytes:
            raise InvalidRequest("The request target is too long.", code="uri_too_long")
        if not (target or path).startswith(b"/"):
            raise InvalidRequest("The request target must be a path.", code="invalid_value")

    def _check_header_block(self, headers: list[tuple[bytes, bytes]]) -> None:
        if len(headers) > self._limits.max_header_fields:
            raise InvalidRequest("The request has too many header fields.", code="headers_too_large")
        size = sum(len(name) + len(value) + _LINE_EXTRA for name, value in headers)
        if size > self._limits.max_header_bytes:
            raise InvalidRequest("The request's header block is too large.", code="headers_too_large")

    def _check_host(self, headers: list[tuple[bytes, bytes]]) -> None:
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise InvalidRequest("The request needs exactly one valid Host header.", code="invalid_host")
        if self._hosts and not {hosts[0].lower(), _without_port(hosts[0].lower())} & self._hosts:
            raise InvalidRequest("This host name is not served here.", code="invalid_host")


def is_upload(scope: Scope) -> bool:
    """Whether the body is a file, which has a limit of its own and is not kept in memory."""
    path: str = scope["path"]
    pushed = path.startswith("/v1/adapters/") and path.endswith("/versions")
    return scope["method"] == "POST" and (pushed or path == "/v1/files")


def declared_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """The body's length as the client declares it; None for a chunked one or none."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return None


def too_large(limit: int) -> InvalidRequest:
    """The error for a body beyond the limit, declared or received."""
    return InvalidRequest(f"The request body is larger than {limit} bytes.", code="request_too_large")


def _without_port(host: bytes) -> bytes:
    return host if host.endswith(b"]") else host.rpartition(b":")[0] or host

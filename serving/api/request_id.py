"""The request id: the client's if it is harmless, else ours; exactly one on every response."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable

HEADER = b"x-request-id"
_HARMLESS = re.compile(rb"[A-Za-z0-9-]{1,64}")

Headers = Iterable[tuple[bytes, bytes]]


def request_id(headers: Headers) -> str:
    """The id that this request goes by."""
    sent = [value for name, value in headers if name == HEADER]
    if len(sent) == 1 and _HARMLESS.fullmatch(sent[0]):
        return sent[0].decode("ascii")
    return uuid.uuid4().hex


def stamped(headers: Headers, identity: str) -> list[tuple[bytes, bytes]]:
    """Response headers with this id and no other."""
    return [*(pair for pair in headers if pair[0].lower() != HEADER), (HEADER, identity.encode("ascii"))]

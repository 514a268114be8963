"""What the pipeline hands to the HTTP layer: a whole body, or a stream whose first event has already arrived."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Answer:
    """Exactly one of `body` (JSON bytes) and `stream` is set.

    `stream` yields whole SSE events as bytes (`data: …\\n\\n`, the last one `data: [DONE]\\n\\n`). It raises
    `PenstockError` when the engine fails after the first byte, and its `aclose()` frees the engine at once.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    stream: AsyncGenerator[bytes, None] | None = None

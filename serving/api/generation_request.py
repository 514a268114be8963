"""From a checked body to `GenerationRequest`: what chat and completions share once their fields have passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.types import GenerationRequest, RequestKind
from serving.api.parameters import engine_body


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a request before its body is read. `received` is in monotonic seconds."""

    id: str
    received: float
    traceparent: str | None = None
    session: str | None = None


def generation_request(body: Mapping[str, Any], arrival: Arrival, *, kind: RequestKind, text: str) -> GenerationRequest:
    """The value that the pipeline takes; `body` has passed every check of its kind."""
    ours = body.get("penstock") or {}
    options = body.get("stream_options") or {}
    return GenerationRequest(
        id=arrival.id,
        kind=kind,
        model=body["model"],
        body=engine_body(body),
        stream=body.get("stream") or False,
        include_usage=options.get("include_usage") or False,
        text=text,
        received=arrival.received,
        n=body.get("n") or 1,
        tier=ours.get("tier"),
        feature=ours.get("feature"),
        metadata=body.get("metadata") or {},
        traceparent=arrival.traceparent,
        session=arrival.session,
    )

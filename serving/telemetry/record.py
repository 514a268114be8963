"""The record: the one row that describes one call. Filled while the call runs, written once when it ends."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from models.clock import Clock


@dataclass(slots=True)
class AttemptTrace:
    """One try of one engine. `outcome` is `ok`, `client_gone` or the error's code; times in milliseconds."""

    card: str
    replica: str
    outcome: str
    duration_ms: float


@dataclass(slots=True)
class CallRecord:
    """Mutable on purpose: each step writes what it knows, the HTTP layer finishes it. Times are milliseconds.

    `id` is the request id, which a client may choose, and choose twice; `uid` is ours and makes the row. `tier` is the
    one that answered, `routed_tier` the one that the router chose; `session` is a digest, not the client's word.
    `prompt_messages` is the chat as it came (`prompt.kept_messages`), of orgs that keep texts.
    `adapter` is its name, `cohort` why this version of it answered: `live`, `canary` or `pinned`.
    """

    id: str
    started_at: float
    kind: str
    org: str | None = None
    user: str | None = None
    key_id: str | None = None
    feature: str | None = None
    stream: bool = False
    requested_model: str | None = None
    served_model: str | None = None
    tier: str | None = None
    route_policy: str | None = None
    route_reason: str | None = None
    route_score: float | None = None
    route_threshold: float | None = None
    route_version: str | None = None
    route_cause: str | None = None
    routed_tier: str | None = None
    session: str | None = None
    task: str | None = None
    retrieval: float | None = None
    adapter: str | None = None
    adapter_version: int | None = None
    cohort: str | None = None
    shadow: dict[str, Any] | None = None
    attempts: list[AttemptTrace] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    tokens_estimated: bool = False
    ttft_ms: float | None = None
    latency_ms: float | None = None
    finish_reason: str | None = None
    status: int = 0
    error_code: str | None = None
    client_gone: bool = False
    stages_ms: dict[str, float] = field(default_factory=dict)
    traceparent: str | None = None
    prompt_text: str | None = None
    answer_text: str | None = None
    prompt_messages: dict[str, Any] | None = None
    uid: str = field(default_factory=lambda: secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class CallOutline:
    """A call as a load that can be repeated: when, by whom it was answered, how large. No text and no caller."""

    started_at: float
    kind: str
    stream: bool
    served_model: str | None
    tier: str | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    ttft_ms: float | None
    latency_ms: float | None
    stages_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Decision:
    """How a trained model found a call's tier. `started_at`: epoch seconds."""

    started_at: float
    route_version: str | None
    route_threshold: float | None
    route_score: float | None
    routed_tier: str | None
    shadow: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Trial:
    """How one call by a version of an adapter went; `cohort` says by which way it came to that version."""

    adapter_version: int | None
    cohort: str | None
    status: int
    error_code: str | None
    ttft_ms: float | None
    latency_ms: float | None


FIELDS = tuple(entry.name for entry in fields(CallRecord))
TRACE_FIELDS = tuple(entry.name for entry in fields(AttemptTrace))


@contextmanager
def timed(record: CallRecord | None, stage: str, *, clock: Clock) -> Iterator[None]:
    """Note how long the block took, also when it ends in an error."""
    started = clock.monotonic()
    try:
        yield
    finally:
        if record is not None:
            record.stages_ms[stage] = (clock.monotonic() - started) * 1000


def record_values(record: CallRecord) -> dict[str, Any]:
    """The record as plain values. `asdict` would copy, at ten times the price, what nobody changes any more."""
    values = {name: getattr(record, name) for name in FIELDS}
    values["attempts"] = [{name: getattr(trace, name) for name in TRACE_FIELDS} for trace in record.attempts]
    return values

"""Frozen values that cross packages. No behaviour beyond what a value knows of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from models.adapters.names import ServedAdapter

Role = Literal["inference", "engineer", "metrics", "admin"]
Tier = Literal["small", "large"]
RequestKind = Literal["chat", "completion"]

ROLES: tuple[Role, ...] = ("inference", "engineer", "metrics", "admin")
TIERS: tuple[Tier, ...] = ("small", "large")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls and who pays: key → user → org. `models=None`: every model; `concurrency=None`: no own limit."""

    key_id: str
    org: str
    user: str
    role: Role
    models: frozenset[str] | None = None
    concurrency: int | None = None
    keep_text: bool = False

    def may_use(self, model: str) -> bool:
        """Whether the key's model list admits this public name."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One validated chat or completion request.

    `body` is the OpenAI request as parsed, without the fields that are ours (`penstock`, `metadata`); nobody changes
    it: whoever needs another body makes a copy. `text` is the prompt's text for the router, `received` is in monotonic
    seconds, `session` is what the client calls the conversation, if it says so.
    """

    id: str
    kind: RequestKind
    model: str
    body: Mapping[str, Any]
    stream: bool
    include_usage: bool
    text: str
    received: float
    n: int = 1
    tier: Tier | None = None
    feature: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    traceparent: str | None = None
    session: str | None = None

    @property
    def generations(self) -> int:
        """How many answers the engine works on: `n` for each prompt, of which a completion may hold a list."""
        prompt = self.body.get("prompt")
        prompts = len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
        return prompts * self.n


@dataclass(frozen=True, slots=True)
class Dropped:
    """A candidate that the plan does not hold, and why."""

    card: str
    reason: str


@dataclass(frozen=True, slots=True)
class Route:
    """What a router policy decided. `ranking` is tiers, best first; `score` is the policy's own number.

    `version` is the trained model that gave the score. `cause` is set where the default tier serves instead of a
    policy's choice: one word that is counted.
    """

    ranking: tuple[Tier, ...]
    policy: str
    reason: str
    score: float | None = None
    threshold: float | None = None
    version: str | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One engine to try: a card and the tier it serves, and the adapter that it answers with, if one was named."""

    card: str
    tier: Tier
    adapter: ServedAdapter | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The ordered attempts for one request. `requested` is what the client named, `route` says why this order."""

    requested: str
    attempts: tuple[Attempt, ...]
    route: Route
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the engine counted them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one engine replica listens. `replica` is its Serve id, `base_url` has no path and no trailing slash."""

    card: str
    replica: str
    base_url: str

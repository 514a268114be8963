"""Why a prompt goes where it goes, and how the router does: for people, over HTTP and on the command line.

Owns what an explanation holds. Decides nothing: it asks the router and the classifier that requests are served with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import msgspec

from models.types import GenerationRequest, Plan, Principal
from router.drift import merged, shifts_of
from router.plan import is_open
from router.router import Router
from router.types import NoReading, Reading
from serving.classifier.client import ClassifierClient, Outcome
from serving.classifier.status import status
from serving.pipeline.pipeline import Adapters, shadow_of
from serving.store.store import Store

NEAREST = 5
LOOKED_AT = 1000
LATELY_S = 3600.0
SEES_EXAMPLES = frozenset({"engineer", "admin"})


class Classifier(Protocol):
    """Where readings come from."""

    async def look(self, text: str, *, nearest: int | None) -> Outcome:
        """A reading, or why there is none, with so many of the nearest labelled prompts."""
        ...


class Explainer:
    """Explains single prompts and the whole."""

    def __init__(
        self,
        router: Router,
        *,
        kind: str,
        name: str,
        store: Store,
        classifier: ClassifierClient | None,
        adapters: Adapters | None = None,
    ) -> None:
        """`kind`: of the policy; `name`: of its router in the store; `classifier`: where it judges by readings."""
        self._router = router
        self._kind = kind
        self._name = name
        self._store = store
        self._classifier = classifier
        self._adapters = adapters

    async def explain(self, request: GenerationRequest, caller: Principal) -> dict[str, Any]:
        """The plan, what it came from, and the nearest labelled prompts where the caller may see them.

        Raises `NotFound` for a model that the caller cannot use.
        """
        return await explained(
            request,
            caller,
            router=self._router,
            classifier=self._classifier,
            adapters=self._adapters,
        )

    async def status(self, now: float) -> dict[str, Any]:
        """What is live and how it does; `now` in epoch seconds. Raises `StoreDown`."""
        if self._classifier is None:
            return {"object": "router.status", "policy": self._kind, "live": None, "warnings": []}
        history = await self._store.releases.history(self._name, self._kind)
        causes = await self._store.records.causes(now - LATELY_S)
        version = history[0].version if history else ""
        stands = [found[version] for found in await self._classifier.drift() if version in found]
        shifts = shifts_of(merged(standing.now for standing in stands), stands[0].then) if stands else {}
        decisions = await self._store.records.decisions(version, self._kind, limit=LOOKED_AT) if version else []
        about = stands[0].about if stands else {}
        return status(history, decisions, causes=causes, shifts=shifts, policy=self._kind, about=about)


async def explained(
    request: GenerationRequest,
    caller: Principal,
    *,
    router: Router,
    classifier: Classifier | None,
    adapters: Adapters | None = None,
) -> dict[str, Any]:
    """The explanation of one request, by the same parts that would serve it."""
    outcome = None
    if not is_open(request):
        adapter = None if adapters is None else adapters.find(request, caller)
        return explanation(router.plan(request, caller, adapter=adapter))
    if classifier is not None:
        outcome = await classifier.look(request.text, nearest=NEAREST if caller.role in SEES_EXAMPLES else 0)
    plan = router.plan(request, caller, reading=None if outcome is None else outcome.reading)
    return explanation(plan, contributions=[part._asdict() for part in router.policy.explain(request)], outcome=outcome)


def explanation(plan: Plan, *, contributions: Sequence[Any] = (), outcome: Outcome | None = None) -> dict[str, Any]:
    """As `/v1/router/explain` answers and `penstock router explain --json` prints."""
    reading = outcome.reading if outcome is not None else None
    return {
        "object": "router.explanation",
        "requested": plan.requested,
        "route": asdict(plan.route),
        "attempts": [asdict(attempt) for attempt in plan.attempts],
        "dropped": [asdict(dropped) for dropped in plan.dropped],
        "contributions": list(contributions),
        "reading": _shown(reading),
        "nearest": [msgspec.to_builtins(example) for example in outcome.nearest] if outcome is not None else [],
    }


def _shown(reading: Reading | NoReading | None) -> dict[str, Any] | None:
    if reading is None:
        return None
    if isinstance(reading, NoReading):
        return {"cause": reading.cause, "objection": reading.objection}
    shown = {name: getattr(reading, name) for name in ("version", "threshold", "objection", "task", "retrieval")}
    numbers = {name: getattr(reading, name) for name in ("gain", "small", "large", "error", "distance")}
    told = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
    return {**shown, **told, "shadow": shadow_of(reading)}

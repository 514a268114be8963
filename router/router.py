"""The router as the pipeline sees it: a request goes in, a plan comes out. Guards the policy, owns no rule itself."""

from __future__ import annotations

import logging
import math

from models.types import TIERS, GenerationRequest, Plan, Principal, Route, Tier
from router.plan import make_plan, pinned
from router.policies import Policy
from router.types import Fleet

log = logging.getLogger(__name__)


class Router:
    """A policy, the fleet it chooses from, and the tier that serves when the policy has no opinion."""

    def __init__(self, policy: Policy, fleet: Fleet, *, default: Tier = "large") -> None:
        self._policy = policy
        self._fleet = fleet
        self._default: tuple[Tier, ...] = (default, *(tier for tier in TIERS if tier != default))

    def plan(self, request: GenerationRequest, caller: Principal) -> Plan:
        """The attempts for this request; raises what `make_plan` raises, never what a policy raises."""
        route = pinned(request, self._fleet) or self.choose(request)
        return make_plan(request, route, fleet=self._fleet, caller=caller)

    def choose(self, request: GenerationRequest) -> Route:
        """The policy's route, or the default one when it fails or answers nonsense."""
        try:
            route = self._policy.choose(request)
        except Exception as error:
            log.exception("routing policy failed")
            return self._fallback(f"the policy raised {type(error).__name__}")
        if problem := _problem(route):
            log.error("routing policy %s: %s", route.policy, problem)
            return self._fallback(f"policy {route.policy}: {problem}")
        return route

    def _fallback(self, reason: str) -> Route:
        return Route(ranking=self._default, policy="default", reason=reason)


def _problem(route: Route) -> str | None:
    if route.score is not None and not math.isfinite(route.score):
        return "the score is no number"
    if not route.ranking:
        return "the ranking is empty"
    if len(set(route.ranking)) != len(route.ranking) or not set(route.ranking) <= set(TIERS):
        return "the ranking holds a tier twice or an unknown one"
    return None

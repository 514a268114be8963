"""The router as the pipeline sees it: a request goes in, a plan comes out. Guards the policy, owns no rule itself."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

from models.adapters.names import ServedAdapter
from models.types import TIERS, GenerationRequest, Plan, Principal, Route, Tier
from router.plan import make_plan, pinned
from router.policies import Policy
from router.types import Fleet, NoReading, Reading

log = logging.getLogger(__name__)


class Router:
    """A policy, the fleet it chooses from, and the tier that serves when the policy has no opinion."""

    def __init__(self, policy: Policy, fleet: Fleet, *, default: Tier = "large") -> None:
        self._policy = policy
        self._fleet = fleet
        self._default: tuple[Tier, ...] = (default, *(tier for tier in TIERS if tier != default))

    @property
    def policy(self) -> Policy:
        """What chooses."""
        return self._policy

    def plan(
        self,
        request: GenerationRequest,
        caller: Principal,
        *,
        adapter: ServedAdapter | None = None,
        reading: Reading | NoReading | None = None,
        least: Tier | None = None,
    ) -> Plan:
        """The attempts for this request; raises what `make_plan` raises, never what a policy raises.

        `adapter`: what the model's name means, if it is an adapter's; `reading`: of the prompt, where the policy wants
        one; `least`: the tier that the conversation has reached.
        """
        route = pinned(request, self._fleet, adapter=adapter) or raised(self.choose(request, reading), least)
        return make_plan(request, route, fleet=self._fleet, caller=caller, adapter=adapter)

    def choose(self, request: GenerationRequest, reading: Reading | NoReading | None = None) -> Route:
        """The policy's route, or the default one when it fails, answers nonsense or had better not be asked."""
        if reading is not None and reading.objection is not None:
            return self._fallback(reading.objection, reading.cause)
        try:
            route = self._policy.choose(request, reading if isinstance(reading, Reading) else None)
        except Exception as error:
            log.exception("routing policy failed")
            return self._fallback(f"the policy raised {type(error).__name__}", "raised")
        if problem := _problem(route):
            log.error("routing policy %s: %s", route.policy, problem)
            return self._fallback(f"policy {route.policy}: {problem}", "nonsense")
        return route

    def _fallback(self, reason: str, cause: str) -> Route:
        return Route(ranking=self._default, policy="default", reason=reason, cause=cause)


def raised(route: Route, least: Tier | None) -> Route:
    """The route of a conversation: its tier may rise from call to call and does not fall."""
    if least is None or TIERS.index(route.ranking[0]) >= TIERS.index(least):
        return route
    ranking = (least, *(tier for tier in route.ranking if tier != least))
    return replace(route, ranking=ranking, reason=f"{route.reason}; the conversation is on {least}")


def _problem(route: Route) -> str | None:
    if route.score is not None and not math.isfinite(route.score):
        return "the score is no number"
    if not route.ranking:
        return "the ranking is empty"
    if len(set(route.ranking)) != len(route.ranking) or not set(route.ranking) <= set(TIERS):
        return "the ranking holds a tier twice or an unknown one"
    return None

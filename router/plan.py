"""From a wish and a ranking to the ordered attempts, with every candidate that fell away and why.

Pure: knows the fleet and the caller, not which replicas are alive (the engines' part), no policy and no clock. Names
are compared byte for byte: no folding, no trimming, no path or hub name is ever made of one.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.adapters.names import ServedAdapter
from models.errors import InvalidRequest, NotFound, Unavailable
from models.types import Attempt, Dropped, GenerationRequest, Plan, Principal, Route, Tier
from router.types import Fleet

AUTO = "auto"
RETRY_AFTER_S = 5.0


def make_plan(
    request: GenerationRequest, route: Route, *, fleet: Fleet, caller: Principal, adapter: ServedAdapter | None = None
) -> Plan:
    """The cards to try, best first. Every card of the fleet is in the plan or dropped with a reason.

    A card or an adapter that the client names is tried alone: another model never answers in its place. `auto` tries
    the ranked tiers that the key and the request allow. Raises `NotFound` (`model_not_found`) for a name that this
    caller cannot use, `InvalidRequest` for a card asked for together with the other tier, `Unavailable` when no tier is
    deployed.
    """
    question = _Question(request, route, fleet, caller, adapter)
    return question.ranked() if request.model == AUTO else question.named()


def is_open(request: GenerationRequest) -> bool:
    """Whether a policy has to choose: neither a model nor a tier is asked for."""
    return request.model == AUTO and request.tier is None


def pinned(request: GenerationRequest, fleet: Fleet, adapter: ServedAdapter | None = None) -> Route | None:
    """The route when the request itself decides, so that no policy is asked; None for a free `auto`."""
    if is_open(request):
        return None
    if adapter is not None:
        tiers = (fleet.cards[adapter.card],) if adapter.card in fleet.cards else ()
        reason = f"the request names adapter {adapter.name}, version {adapter.number} ({adapter.cohort})"
        return Route(ranking=tiers, policy="adapter", reason=reason)
    if request.model == AUTO and request.tier is not None:
        return Route(ranking=(request.tier,), policy="tier", reason=f"the request asks for tier {request.tier}")
    tier = fleet.cards.get(request.model)
    return Route(ranking=() if tier is None else (tier,), policy="model", reason="the request names the model")


@dataclass(frozen=True, slots=True)
class _Question:
    """What one plan is made from."""

    request: GenerationRequest
    route: Route
    fleet: Fleet
    caller: Principal
    adapter: ServedAdapter | None = None

    def named(self) -> Plan:
        """The one card that the request names, or the one on which the adapter that it names stands."""
        name = self.request.model
        card = name if self.adapter is None else self.adapter.card
        tier = self.fleet.cards.get(card)
        if tier is None or not self.caller.may_use(name):
            raise _unknown(name)
        if self.request.tier not in (None, tier):
            raise InvalidRequest(
                f"Model {_shown(name)} serves tier {tier!r}. Leave penstock.tier out, or ask for model 'auto'.",
                param="penstock.tier",
            )
        others = (other for other in self.fleet.candidates if other != card)
        dropped = tuple(Dropped(other, "the request names another model") for other in others)
        return Plan(name, (Attempt(card, tier, self.adapter),), self.route, dropped)

    def ranked(self) -> Plan:
        """The cards of the ranked tiers, less those that fall away."""
        standing: dict[str, Tier] = {}
        for tier in self.route.ranking:
            if tier in self.fleet.tiers:
                standing.setdefault(self.fleet.tiers[tier], tier)
        verdicts = {card: self._objection(card) for card in (*standing, *self.fleet.candidates)}
        attempts = tuple(Attempt(card, tier) for card, tier in standing.items() if verdicts[card] is None)
        if not attempts:
            raise self._nothing_left()
        dropped = tuple(Dropped(card, reason) for card, reason in verdicts.items() if reason is not None)
        return Plan(self.request.model, attempts, self.route, dropped)

    def _objection(self, card: str) -> str | None:
        """Why this card cannot be tried for `auto`; None when it can. The first reason that holds is told."""
        asked, standing = self.request.tier, self.fleet.tiers
        if card not in standing.values():
            return "stands for no tier of this stack: served by its name only"
        if card not in self.fleet.cards:
            return "not deployed in this stack"
        if not self._admits(card):
            return "the key's model list does not admit it"
        if asked is not None and standing.get(asked) != card:
            return f"the request asks for tier {asked}"
        if not any(standing.get(tier) == card for tier in self.route.ranking):
            return f"not ranked by policy {self.route.policy}"
        return None

    def _admits(self, card: str) -> bool:
        """A key that lists `auto` may reach every tier through it; any other list has to name the card."""
        return self.caller.may_use(AUTO) or self.caller.may_use(card)

    def _nothing_left(self) -> NotFound | Unavailable:
        if not any(self._admits(card) for card in self.fleet.tiers.values()):
            return _unknown(self.request.model)
        return Unavailable("No model that may answer this request is deployed.", retry_after_s=RETRY_AFTER_S)


def _unknown(name: str) -> NotFound:
    message = f"The model {_shown(name)} does not exist or this key may not use it."
    return NotFound(message, code="model_not_found", param="model")


def _shown(name: str) -> str:
    """At most 64 characters of it, in plain ASCII."""
    return f"'{ascii(name[:64])[1:-1][:64]}'"

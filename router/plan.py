"""From a wish and a ranking to the ordered attempts, with every candidate that fell away and why.

Pure: knows the fleet and the caller, not which replicas are alive (the engines' part), no policy and no clock. Names
are compared byte for byte: no folding, no trimming, no path or hub name is ever made of one.
"""

from __future__ import annotations

from collections.abc import Callable

from models.errors import InvalidRequest, NotFound, Unavailable
from models.types import Attempt, Dropped, GenerationRequest, Plan, Principal, Route, Tier
from router.types import Fleet

AUTO = "auto"
RETRY_AFTER_S = 5.0


def make_plan(request: GenerationRequest, route: Route, *, fleet: Fleet, caller: Principal) -> Plan:
    """The cards to try, best first. Every card of the fleet is in the plan or dropped with a reason.

    A card that the client names is tried alone: another model never answers in its place. `auto` tries the ranked tiers
    that the key and the request allow. Raises `NotFound` (`model_not_found`) for a name that this caller cannot use,
    `InvalidRequest` for a card asked for together with the other tier, `Unavailable` when no tier is deployed.
    """
    if request.model == AUTO:
        return _ranked(request, route, fleet, caller)
    return _named(request, route, fleet, caller)


def pinned(request: GenerationRequest, fleet: Fleet) -> Route | None:
    """The route when the request itself decides, so that no policy is asked; None for a free `auto`."""
    if request.model == AUTO:
        if request.tier is None:
            return None
        return Route(ranking=(request.tier,), policy="tier", reason=f"the request asks for tier {request.tier}")
    tier = fleet.cards.get(request.model)
    return Route(ranking=() if tier is None else (tier,), policy="model", reason="the request names the model")


def _named(request: GenerationRequest, route: Route, fleet: Fleet, caller: Principal) -> Plan:
    tier = fleet.cards.get(request.model)
    if tier is None or not caller.may_use(request.model):
        raise _unknown(request.model)
    if request.tier not in (None, tier):
        raise InvalidRequest(
            f"Model {_shown(request.model)} serves tier {tier!r}. Leave penstock.tier out, or ask for model 'auto'.",
            param="penstock.tier",
        )
    others = tuple(
        Dropped(card, "the request names another model") for card in fleet.candidates if card != request.model
    )
    return Plan(request.model, (Attempt(request.model, tier),), route, others)


def _ranked(request: GenerationRequest, route: Route, fleet: Fleet, caller: Principal) -> Plan:
    cards = tuple(dict.fromkeys(fleet.tiers[tier] for tier in route.ranking if tier in fleet.tiers))
    judge = _judge(request, route, fleet, caller)
    verdicts = {card: judge(card) for card in (*cards, *(card for card in fleet.candidates if card not in cards))}
    attempts = tuple(Attempt(card, _tier_of(card, fleet)) for card in cards if verdicts[card] is None)
    if not attempts:
        raise _nothing_left(request, fleet, caller)
    return Plan(
        requested=request.model,
        attempts=attempts,
        route=route,
        dropped=tuple(Dropped(card, reason) for card, reason in verdicts.items() if reason is not None),
    )


def _judge(request: GenerationRequest, route: Route, fleet: Fleet, caller: Principal) -> Callable[[str], str | None]:
    """The reason to drop a card, or None; the first that holds is told."""
    asked = request.tier
    checks: tuple[tuple[Callable[[str], bool], str], ...] = (
        (lambda card: card not in fleet.tiers.values(), "stands for no tier of this stack, is served by its name only"),
        (lambda card: card not in fleet.cards, "not deployed in this stack"),
        (lambda card: not _admits(caller, card), "the key's model list does not admit it"),
        (lambda card: asked is not None and fleet.tiers.get(asked) != card, f"the request asks for tier {asked}"),
        (lambda card: not _is_ranked(card, route, fleet), f"not ranked by policy {route.policy}"),
    )
    return lambda card: next((reason for fails, reason in checks if fails(card)), None)


def _admits(caller: Principal, card: str) -> bool:
    """A key that lists `auto` may reach every tier through it; any other list has to name the card."""
    return caller.may_use(AUTO) or caller.may_use(card)


def _is_ranked(card: str, route: Route, fleet: Fleet) -> bool:
    return any(fleet.tiers.get(tier) == card for tier in route.ranking)


def _tier_of(card: str, fleet: Fleet) -> Tier:
    return next(tier for tier, standing in fleet.tiers.items() if standing == card)


def _nothing_left(request: GenerationRequest, fleet: Fleet, caller: Principal) -> NotFound | Unavailable:
    if not any(_admits(caller, card) for card in fleet.tiers.values()):
        return _unknown(request.model)
    return Unavailable("No model that may answer this request is deployed.", retry_after_s=RETRY_AFTER_S)


def _unknown(name: str) -> NotFound:
    message = f"The model {_shown(name)} does not exist or this key may not use it."
    return NotFound(message, code="model_not_found", param="model")


def _shown(name: str) -> str:
    """At most 64 characters of it, in plain ASCII."""
    return f"'{ascii(name[:64])[1:-1][:64]}'"

"""What this stack serves, as seen from a gateway: the names a caller may use, and whether every engine is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from models.catalog import ModelCard
from models.ports import EndpointDirectory
from models.types import Endpoint, Principal, Tier
from router.plan import AUTO
from router.types import Fleet
from serving.adapters.book import Name
from serving.api.deps import ModelListing, Readiness
from serving.settings import TierSettings


def fleet_of(cards: Mapping[str, ModelCard], tiers: TierSettings) -> Fleet:
    """For the router: every card with the tier it stands for here, or was made for."""
    cards_of_tiers: dict[Tier, str] = {"small": tiers.small, "large": tiers.large}
    standing = {card: tier for tier, card in cards_of_tiers.items()}
    return Fleet({name: standing.get(name, card.tier) for name, card in cards.items()}, cards_of_tiers)


class AdapterNames(Protocol):
    """The adapters that callers may name."""

    def names_of(self, org: str) -> Sequence[Name]: ...
    def knows(self, name: str, caller: Principal) -> bool: ...


class ServedFleet:
    """The deployed cards, their replicas and the adapters on them. `since` (epoch seconds) is when this gateway began
    to serve them.
    """

    def __init__(
        self,
        cards: Mapping[str, ModelCard],
        tiers: TierSettings,
        *,
        directory: EndpointDirectory,
        since: float,
        adapters: AdapterNames | None = None,
    ) -> None:
        self._cards = dict(cards)
        self._fleet = fleet_of(cards, tiers)
        self._directory = directory
        self._since = int(since)
        self._adapters = adapters

    def fleet(self) -> Fleet:
        """For the router."""
        return self._fleet

    def visible(self, caller: Principal) -> Sequence[ModelListing]:
        """`auto` first, then the cards in the profile's order, then the adapters of the caller's org, as far as the
        key's model list admits them.
        """
        tiers = self.fleet().cards
        listings = [ModelListing(AUTO, self._since), *(ModelListing(name, self._since, tiers[name]) for name in tiers)]
        for name in () if self._adapters is None else self._adapters.names_of(caller.org):
            card = name.targets[0][0].card
            listings.append(ModelListing(name.alias, self._since, tiers.get(card), parent=card))
        return [listing for listing in listings if caller.may_use(listing.id)]

    def knows(self, name: str, caller: Principal) -> bool:
        """`auto`, a card, or an adapter of the caller's org, if the key's model list admits it."""
        known = (
            name == AUTO or name in self._cards or (self._adapters is not None and self._adapters.knows(name, caller))
        )
        return known and caller.may_use(name)

    async def report(self) -> Readiness:
        """Ready when every card has a replica; what is missing is named."""
        missing = tuple(f"engine {card}" for card in self._cards if not self._directory.endpoints(card))
        return Readiness(not missing, missing)

    def endpoints(self) -> Iterator[Endpoint]:
        """Every replica of every card."""
        for card in self._cards:
            yield from self._directory.endpoints(card)

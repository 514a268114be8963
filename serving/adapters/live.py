"""Where an engine replica that starts reads which versions it has to hold: the store, asked once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.adapters.names import AdapterRef
from serving.store.store import Store


@dataclass(frozen=True, slots=True)
class StoredLive:
    """What the registry says is live; travels to a replica by value. `url`: of the store; `revisions`: card → the base
    revision that is served.
    """

    url: str
    revisions: Mapping[str, str]

    async def read(self, card: str) -> Sequence[AdapterRef]:
        """Every version that calls may ask this card for, those that aliases name first. Raises `StoreDown`."""
        async with Store.open(self.url) as store:
            return await store.adapters.live(card, revision=self.revisions.get(card, ""))

"""A replica's shelf from its plan, filled with what is live, before anybody can reach the replica."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from models.artifacts import ArtifactSettings
from models.artifacts.store import open_artifacts
from models.errors import PenstockError
from serving.engines.adapter_files import StoredFiles
from serving.engines.adapters import AdapterShelf, LiveAdapters, LoraEngine

log = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class AdapterPlan:
    """What a replica's adapters are made from; travels to it by value. `home`: where a local store lies unless its
    settings say so; `cache`: where versions lie once they are here; `live`: None where nothing is loaded at the start.
    """

    artifacts: ArtifactSettings
    home: str
    cache: str
    live: LiveAdapters | None = None


async def filled_shelf(plan: AdapterPlan, engine: LoraEngine, *, card: str) -> AdapterShelf:
    """The shelf of an engine of this card. What cannot be loaded, or not even be read, does not stop the replica:
    calls bring what they need.
    """
    artifacts = open_artifacts(plan.artifacts, home=Path(plan.home))
    shelf = AdapterShelf(engine, StoredFiles(artifacts, Path(plan.cache)))
    await shelf.slots()  # the engine's counts begin here
    if plan.live is None:
        return shelf
    try:
        live = await plan.live.read(card)
    except PenstockError as error:
        log.warning("The live adapters of %r cannot be read; calls bring what they need: %s", card, error)
        return shelf
    await shelf.fill(live)
    log.info("%d of %d live adapters of %r are loaded.", len(shelf.versions), len(live), card)
    return shelf

"""Holds a profile against the machine it names: every engine by the catalog's rules, and all engines together.

Owns what only a whole profile can break: shares of GPUs that add up to more than there are. The rules of one card are
`models.catalog.rules`. Nothing here looks at the real machine; `penstock doctor` does.
"""

from __future__ import annotations

from collections.abc import Iterator

from models.catalog.devices import device
from models.catalog.loader import Catalog
from models.catalog.rules import DEFAULT_MEMORY_SHARE, Refusal, Setup, check, require
from router.policies import classifier_of
from serving.settings import EngineSettings, Settings


def refusals(settings: Settings, catalog: Catalog) -> list[Refusal]:
    """Everything impossible in a profile; empty when it may start. An unknown card raises."""
    target = device(settings.ray.gpu)
    found = [
        refusal
        for engine in settings.engines
        for refusal in check(catalog.card(engine.card), target, overrides=engine.engine_args)
    ]
    if not found and not target.is_cpu:
        found += _shares(settings, catalog)
    return found


def require_fit(settings: Settings, catalog: Catalog) -> None:
    """Refuse a profile that cannot work, with every reason."""
    require(refusals(settings, catalog))


def setups(settings: Settings, catalog: Catalog) -> list[Setup]:
    """Every engine with its card, on the profile's hardware."""
    target = device(settings.ray.gpu)
    return [Setup(catalog.card(engine.card), target, engine.engine_args) for engine in settings.engines]


def free_gpus(settings: Settings, catalog: Catalog) -> float:
    """GPUs, and shares of one, that serving leaves when it has all its replicas; less than 0 when it wants too many."""
    pairs = zip(settings.engines, setups(settings, catalog), strict=True)
    reserved = sum(_most_replicas(engine) * setup.shards.workers * engine.gpu_share for engine, setup in pairs)
    classifier = classifier_of(settings.router)
    if classifier is not None:
        reserved += classifier.replicas * classifier.gpu_share
    return round(settings.ray.gpus - reserved, 6)


def _shares(settings: Settings, catalog: Catalog) -> Iterator[Refusal]:
    successors = {}
    for engine, setup in zip(settings.engines, setups(settings, catalog), strict=True):
        used = setup.arguments.get("gpu_memory_utilization", DEFAULT_MEMORY_SHARE)
        if used > engine.gpu_share:
            yield setup.refuse("gpu_share", f"{engine.gpu_share:g} is reserved, gpu_memory_utilization is {used:g}")
        if engine.surge:
            successors[engine.card] = setup.shards.workers * engine.gpu_share
    classifier = classifier_of(settings.router)
    if classifier is not None and classifier.gpu_share:
        successors["classifier"] = classifier.gpu_share
    free, there = free_gpus(settings, catalog), settings.ray.gpus
    if free < 0:
        last = settings.engines[-1].card
        yield Refusal(last, "gpu_share", f"the engines need {there - free:g} GPUs, ray.gpus is {there}")
    for card, one in successors.items():
        if one > free >= 0:
            yield Refusal(card, "surge", f"a successor needs {one:g} GPUs beside the engines, {free:g} are free")


def _most_replicas(engine: EngineSettings) -> int:
    return max(engine.replicas, engine.max_replicas or 0)

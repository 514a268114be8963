"""Holds a profile against the machine it names: every engine by the catalog's rules, and all engines together.

Owns what only a whole profile can break: shares of GPUs that add up to more than there are. The rules of one card are
`models.catalog.rules`. Nothing here looks at the real machine; `penstock doctor` does.
"""

from __future__ import annotations

from collections.abc import Iterator

from models.catalog.devices import Device, device
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
        found += _shares(settings, catalog, target=target)
    return found


def require_fit(settings: Settings, catalog: Catalog) -> None:
    """Refuse a profile that cannot work, with every reason."""
    require(refusals(settings, catalog))


def _shares(settings: Settings, catalog: Catalog, *, target: Device) -> Iterator[Refusal]:
    reserved, successors = 0.0, {}
    for engine in settings.engines:
        setup = Setup(catalog.card(engine.card), target, engine.engine_args)
        used = setup.arguments.get("gpu_memory_utilization", DEFAULT_MEMORY_SHARE)
        if used > engine.gpu_share:
            yield setup.refuse("gpu_share", f"{engine.gpu_share:g} is reserved, gpu_memory_utilization is {used:g}")
        one = setup.shards.workers * engine.gpu_share
        reserved += _most_replicas(engine) * one
        if engine.surge:
            successors[engine.card] = one
    classifier = classifier_of(settings.router)
    if classifier is not None:
        reserved += classifier.replicas * classifier.gpu_share
        if classifier.gpu_share:
            successors["classifier"] = classifier.gpu_share
    free = round(settings.ray.gpus - reserved, 6)
    if free < 0:
        last = settings.engines[-1].card
        yield Refusal(last, "gpu_share", f"the engines need {reserved:g} GPUs, ray.gpus is {settings.ray.gpus}")
    for card, one in successors.items():
        if one > free >= 0:
            yield Refusal(card, "surge", f"a successor needs {one:g} GPUs beside the engines, {free:g} are free")


def _most_replicas(engine: EngineSettings) -> int:
    return max(engine.replicas, engine.max_replicas or 0)

"""A stack's registry of adapters over HTTP: have so many live, release a version, read what replicas say.

Owns the wire of `/v1/adapters`. Decides nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.adapters.weights import adapter_zip
from benchmarks.calls import Address
from benchmarks.json_calls import JsonCalls, json_calls
from benchmarks.quality.answers import side_by_side
from models.catalog.schema import ModelCard
from models.errors import Unavailable

SIDE_BY_SIDE = 8
FLEET = "adapter-{:04}"


@dataclass(frozen=True, slots=True)
class Totals:
    """What all replicas of a card have counted together: calls with an adapter, copies into slots, reads from disk.

    `replicas`: how many there are; `slots`: of one of them.
    """

    requests: int
    activations: int
    disk_loads: int
    replicas: int
    slots: int

    def since(self, before: Totals) -> Totals:
        """What was counted in between. Raises `Unavailable` when a replica came, went or began anew."""
        requests, activations = self.requests - before.requests, self.activations - before.activations
        disk_loads = self.disk_loads - before.disk_loads
        if self.replicas != before.replicas or min(requests, activations, disk_loads) < 0:
            raise Unavailable("A replica came or went in the middle of a round. Measure again.")
        return Totals(requests, activations, disk_loads, self.replicas, self.slots)

    @property
    def hit_rate(self) -> float:
        """The part 0…1 of the calls whose adapter lay in a slot."""
        return 1 - self.activations / self.requests if self.requests else 0.0


class Registry:
    """The adapters of the key's org."""

    def __init__(self, calls: JsonCalls) -> None:
        self._ask = calls.ask

    async def names(self) -> set[str]:
        """Every name that a call may ask for."""
        return {str(one["id"]) for one in (await self._ask("GET", "/v1/models"))["data"]}

    async def push(self, name: str, content: bytes, *, base: str) -> int:
        """A new version; its number."""
        headers = {"content-type": "application/zip"}
        path = f"/v1/adapters/{name}/versions"
        pushed = await self._ask("POST", path, data=content, headers=headers, params={"base": base})
        return int(pushed["version"])

    async def promote(self, name: str, version: int) -> dict[str, Any]:
        """What the release did: `replicas` with their times in ms, `waiting` gateways."""
        return await self._ask("POST", f"/v1/adapters/{name}/promote", json={"version": version})

    async def load(self, name: str, version: int, *, warm_s: float) -> dict[str, Any]:
        """Load a version on every replica without a release: `model`, the name that it answers to, and `replicas`."""
        return await self._ask("POST", f"/v1/adapters/{name}/load", json={"version": version, "warm_s": warm_s})

    async def retire(self, name: str) -> None:
        """Unload it everywhere."""
        await self._ask("POST", f"/v1/adapters/{name}/retire", json={})

    async def replicas(self, name: str) -> list[dict[str, Any]]:
        """What each replica of this adapter's card says of it, and of itself."""
        replicas: list[dict[str, Any]] = (await self._ask("GET", f"/v1/adapters/{name}/status"))["replicas"]
        if silent := [one["replica"] for one in replicas if not one["answers"]]:
            raise Unavailable(f"Replica {silent[0]} does not say what it holds. Measure again when it is well.")
        return replicas

    async def totals(self, name: str) -> Totals:
        """The counters of all replicas of this adapter's card. Raises `Unavailable` when an engine tells none."""
        told = [one["totals"] for one in await self.replicas(name)]
        if not told or any(one["activations"] is None for one in told):
            raise Unavailable("The engines of this stack do not say what lies in their slots.")
        requests, activations, disk_loads = (
            sum(int(one[field]) for one in told) for field in ("requests", "activations", "disk_loads")
        )
        return Totals(requests, activations, disk_loads, len(told), int(told[0]["slots"]))


@asynccontextmanager
async def opened(address: Address) -> AsyncIterator[Registry]:
    """A stack's registry while the block is open."""
    async with json_calls(address) as calls:
        yield Registry(calls)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Many adapters of one card: `adapter-0001` and on, of one rank each."""

    card: ModelCard
    count: int
    rank: int
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of their popularity."""
        return tuple(FLEET.format(number) for number in range(1, self.count + 1))

    async def live(self, registry: Registry, heard: Callable[[int, int], None]) -> int:
        """Push and promote those that are not live yet, several side by side; how many those were.

        `heard`: how many of how many are done.
        """
        there = await registry.names()
        missing = [(seed, name) for seed, name in enumerate(self.names, self.seed) if name not in there]
        done = 0

        async def release(one: tuple[int, str]) -> None:
            nonlocal done
            seed, name = one
            content = adapter_zip(self.card, rank=self.rank, seed=seed)
            await registry.promote(name, await registry.push(name, content, base=self.card.id))
            done += 1
            heard(done, len(missing))

        await side_by_side(missing, release, concurrency=SIDE_BY_SIDE)
        return len(missing)


def served(replicas: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Replica → calls that one adapter's versions had there."""
    return {one["replica"]: sum(int(each["served"]) for each in one["adapters"]) for one in replicas}

"""What goes on behind releases: one gateway at a time sees to it that replicas hold what the registry says.

Takes back what a dead gateway began, retires what has been warm long enough, brings replicas to what is wanted, and
sweeps files without a row. Every step can be done twice, and by whichever gateway holds the lease. Does not decide what
is wanted: `releases.py` does, and `canary.py` when a trial ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from models.adapters.names import AdapterRef
from models.adapters.states import LOADED
from models.artifacts.artifact import VERSION_DIGITS
from models.artifacts.store import ArtifactStore
from models.clock import Clock
from models.types import Endpoint
from serving.adapters import rules
from serving.adapters.drafts import tidy
from serving.adapters.in_hand import InHand
from serving.adapters.registry import KIND, removed
from serving.adapters.releases import Actor, Releases
from serving.adapters.replicas import Replicas
from serving.periodic import Periodic
from serving.store.adapters import MARK, AdapterRow, AdapterTable, AuditRow, VersionRow, ref_of
from serving.store.views import ViewTable

LEASE = "adapters"
ROUND_S = 2.0
LEASES = 3  # times the time after which a gateway counts as gone
UNLOAD_WAIT_S = 5.0
SWEEP_EVERY_S = 600.0
ORPHAN_S = 3000.0  # with the time between two sweeps: what nobody knows is gone within an hour
RETRY_S = 30.0
SELF = "penstock"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class House:
    """What housekeeping works on. `work`: this machine's drafts; `in_hand`: what this gateway works on itself."""

    table: AdapterTable
    views: ViewTable
    replicas: Replicas
    releases: Releases
    artifacts: ArtifactStore
    revisions: Mapping[str, str]
    work: Path
    in_hand: InHand
    gateway: str
    gone_s: float
    clock: Clock


class Housekeeping:
    """Keeps house while this gateway holds the lease. `judge`: looks at the canaries; `sweeps`: what else is swept now
    and then.
    """

    def __init__(
        self,
        house: House,
        *,
        judge: Callable[[], Awaitable[None]],
        sweeps: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self._house = house
        self._judge = judge
        self._sweeps = sweeps
        self._swept = self._tidied = house.clock.monotonic()
        self._leads = False

    @asynccontextmanager
    async def open(self, *, every_s: float = ROUND_S) -> AsyncGenerator[None]:
        """Keep house while the block is open."""
        async with Periodic(self.round, every_s=every_s), Periodic(self.bring, every_s=every_s):
            yield

    async def round(self) -> None:
        """One look at the registry: at what is this gateway's own, and, with the lease, at everything."""
        house = self._house
        hold = house.views.hold(LEASE, house.gateway, now=house.clock.now(), for_s=LEASES * house.gone_s)
        self._leads = await hold
        await self._tidy()
        await self._take_back()
        if not self._leads:
            return
        await self._retire()
        await self._retire_outdated()
        await self._judge()
        if house.clock.monotonic() - self._swept >= SWEEP_EVERY_S:
            self._swept = house.clock.monotonic()
            await self._sweep()
            for sweep in self._sweeps:
                await sweep()

    async def bring(self) -> None:
        """One look at the replicas. Apart from the registry: a replica that hangs holds up no verdict on a canary."""
        if self._leads:
            await asyncio.gather(*(self._bring(card) for card in self._house.revisions))

    async def _tidy(self) -> None:
        """Drafts that a process of this machine left behind when it died."""
        house = self._house
        if house.clock.monotonic() - self._tidied >= SWEEP_EVERY_S:
            self._tidied = house.clock.monotonic()
            for name in await asyncio.to_thread(tidy, house.work, before=house.clock.now() - ORPHAN_S):
                log.info("draft_removed", name=name)

    async def _take_back(self) -> None:
        """What a gateway that is gone had begun, and what this one could not end: the database was away just then."""
        house = self._house
        begun = await house.table.in_states("loading", "uploaded")
        alive = await house.views.alive(MARK, since=house.clock.now() - house.gone_s)
        for adapter, row in begun:
            if house.clock.now() - row.state_at < house.gone_s:
                continue
            if row.holder == house.gateway:
                left = (adapter.id, row.number) not in house.in_hand
            else:
                left = self._leads and row.holder not in alive
            if not left:
                continue
            actor, reason = Actor(adapter.org, SELF), f"gateway {row.holder} ended in the middle of it"
            if row.state == "loading":
                await house.releases.take_back(adapter, row, actor=actor, detail={"reason": reason})
            else:
                await self._fail(adapter, row, reason=reason)

    async def _fail(self, adapter: AdapterRow, row: VersionRow, *, reason: str) -> None:
        house = self._house
        async with house.table.changing() as change:
            found = await change.version(adapter.id, row.number)
            if found is not None and found.state == "uploaded":
                failed = rules.stepped(found, "failed", now=house.clock.now(), reason=reason, bytes=0)
                await change.put_version(failed)
                detail = {"version": row.number, "reason": reason}
                await change.note(AuditRow(house.clock.now(), adapter.org, SELF, "push stopped", adapter.name, detail))

    async def _retire(self) -> None:
        """What no alias has named for long enough."""
        house = self._house
        for adapter, row in await house.table.in_states("draining"):
            if row.warm_until is None or row.warm_until > house.clock.now():
                continue
            async with house.table.changing() as change:
                found = await change.version(adapter.id, row.number)
                if found is None or found.state != "draining" or (found.warm_until or 0) > house.clock.now():
                    continue
                held = found.holder  # a withdrawal's stays
                await change.put_version(rules.stepped(found, "retired", now=house.clock.now(), holder=held))
                detail = {"version": row.number}
                await change.note(AuditRow(house.clock.now(), adapter.org, SELF, "retired", adapter.name, detail))

    async def _retire_outdated(self) -> None:
        """What was made for another revision of its base than the one that is served: nobody may get it."""
        house = self._house
        for adapter, row in await house.table.in_states("ready", "draining"):
            current = house.revisions.get(adapter.base)
            if current is None or row.base_revision == current:
                continue
            async with house.table.changing() as change:
                found = await change.version(adapter.id, row.number)
                if found is None or found.state not in LOADED:
                    continue
                now = house.clock.now()
                drained = found if found.state == "draining" else rules.stepped(found, "draining", now=now)
                reason = f"made for revision {str(row.base_revision)[:12]} of {adapter.base}; {current[:12]} is served"
                await change.put_version(rules.stepped(drained, "retired", now=now, reason=reason))
                detail = {"version": row.number, "reason": reason}
                await change.note(AuditRow(now, adapter.org, SELF, "retired", adapter.name, detail))

    async def _bring(self, card: str) -> None:
        """Make the replicas of a card hold what is wanted: what they lack first, then away with the rest."""
        house = self._house
        endpoints = house.replicas.of(card)
        told = await asyncio.gather(*(house.replicas.status(endpoint) for endpoint in endpoints))
        wanted = await self._wanted(card)  # after the replicas were asked: what was begun since then is in it
        held = [
            (endpoint, {one["engine_name"]: one for one in status["adapters"]})
            for endpoint, status in zip(endpoints, told, strict=True)
            if status is not None
        ]
        for name, (ref, due) in wanted.items():
            if due and any(name not in rows or self._may_try(rows[name]) for _, rows in held):
                await self._load(card, ref)
        gone = [
            (endpoint, [name for name, one in rows.items() if name not in wanted and one["state"] != "loading"])
            for endpoint, rows in held
        ]
        await asyncio.gather(*(self._unload(endpoint, names, card=card) for endpoint, names in gone))

    async def _wanted(self, card: str) -> dict[str, tuple[AdapterRef, bool]]:
        """By engine name, what replicas may hold; and whether they have to by now."""
        snapshot = await self._house.table.snapshot(self._house.revisions)
        adapters = {row.id: row for row in snapshot.adapters if row.base == card}
        wanted: dict[str, tuple[AdapterRef, bool]] = {}
        for row in snapshot.versions:
            if row.adapter in adapters and row.digest:
                ref = ref_of(adapters[row.adapter], row)
                _, due = wanted.get(ref.engine_name, (ref, False))
                wanted[ref.engine_name] = ref, due or row.state in LOADED
        return wanted

    def _may_try(self, told: Mapping[str, Any]) -> bool:
        """Whether a version that a replica could not load is worth another try; one whose files it lost is at once."""
        if told["state"] == "degraded":
            return True
        error = told.get("last_error")
        return told["state"] == "failed" and error is not None and self._house.clock.now() - error["at"] > RETRY_S

    async def _load(self, card: str, ref: AdapterRef) -> None:
        for outcome in await self._house.replicas.load(card, ref):
            if outcome.problem is not None:
                log.warning(
                    "adapter_not_loaded", adapter=ref.engine_name, replica=outcome.replica, reason=outcome.problem
                )

    async def _unload(self, endpoint: Endpoint, names: Iterable[str], *, card: str) -> None:
        for name in sorted(names):
            if name in await self._wanted(card):  # somebody has released it since we looked
                continue
            if await self._house.replicas.unload(endpoint, name, wait_s=UNLOAD_WAIT_S):
                log.info("adapter_unloaded", adapter=name, replica=endpoint.replica)

    async def _sweep(self) -> None:
        """Files that no row speaks of: of a push that was cut, or a deletion that was. Those of adapters that were
        never ours stay: several stacks may keep theirs in one place.
        """
        house = self._house
        keep = {(adapter, digest[:VERSION_DIGITS]) for adapter, digest in await house.table.digests()}
        orphans = await asyncio.to_thread(house.artifacts.orphans, KIND, keep, older_than_s=ORPHAN_S)
        ours = await house.table.made() if orphans else set()
        for name, version in orphans:
            if name in ours and await removed(house.table, house.artifacts, adapter=name, version=version):
                log.info("adapter_files_swept", artifact=name, version=version)

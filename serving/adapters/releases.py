"""Releases: a version onto every replica, then the alias onto the version; and every way back.

The story of a release reads in `_released`: claim, load everywhere, flip, wait for every gateway. Owns that a release
happens whole or leaves everything as it was. Does not own what is allowed (`rules.py`), rows (`serving/store`), or what
comes after: `housekeeping.py` unloads, judges canaries, and takes back what a dead gateway began.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from models.adapters.states import LOADED
from models.clock import Clock
from models.errors import InvalidRequest, NotFound, Unavailable
from serving.adapters import rules
from serving.adapters.replicas import Outcome, Replicas
from serving.adapters.terms import Followers, ReleaseTerms
from serving.store.adapters import (
    AdapterChange,
    AdapterRow,
    AdapterTable,
    AliasRow,
    AuditRow,
    VersionRow,
    ref_of,
)
from serving.store.views import ViewTable

AT_HAND_S = 300.0  # a version that is warm stays so while it is being released


class ReleaseStopped(Unavailable):
    """A replica could not load the version; nothing was changed. Its words are for operators and are told them."""

    told = True


class Taken(InvalidRequest):
    """Another call has this version in hand: a try later may find it free, or loaded."""

    default_code = "already_exists"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who releases: an org's key."""

    org: str
    name: str


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did. `waiting`: gateways that live and have not confirmed the new alias; none as a rule."""

    adapter: AdapterRow
    alias: AliasRow
    loads: Sequence[Outcome]
    waiting: Sequence[str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load without a release did. `version`: as it is now, with the time until which it stays."""

    adapter: AdapterRow
    version: VersionRow
    loads: Sequence[Outcome]
    waiting: Sequence[str]


class Wish(NamedTuple):
    """What somebody wants released, and by which word it goes into the audit."""

    actor: Actor
    name: str
    number: int
    action: str


Flip = Callable[[AdapterChange, AdapterRow], Awaitable[AliasRow]]
"""Where the alias points afterwards; raises what stands against it. Writes nothing."""


class Claim(NamedTuple):
    """A version that is to be released, and whether this release has to load it."""

    adapter: AdapterRow
    version: VersionRow
    fresh: bool

    @property
    def held(self) -> tuple[str, str | None, float]:
        """The step in which it is ours."""
        return self.version.state, self.version.holder, self.version.state_at


class Releases:
    """Changes what aliases point to. `revisions`: the base revision that the stack serves, by card."""

    def __init__(
        self,
        table: AdapterTable,
        views: ViewTable,
        *,
        replicas: Replicas,
        revisions: Mapping[str, str],
        terms: ReleaseTerms,
        clock: Clock,
    ) -> None:
        self._table = table
        self._followers = Followers(views, terms, clock=clock)
        self._replicas = replicas
        self._revisions = revisions
        self._terms = terms
        self._clock = clock

    async def promote(self, actor: Actor, name: str, *, number: int, alias: str | None = None) -> Released:
        """Make a version live under an alias (the adapter's name unless another is given), on every replica at once.

        When this returns, a call that any gateway takes from now on gets this version. Raises `ReleaseStopped`, with
        nothing changed, when a replica cannot load it.
        """

        async def flip(change: AdapterChange, adapter: AdapterRow) -> AliasRow:
            public = self._public(alias, adapter)
            known = await change.alias(actor.org, public)
            return rules.pointed(known, adapter, name=public, number=number, now=self._clock.now())

        return await self._released(Wish(actor, name, number, "promote"), flip)

    async def serve(self, actor: Actor, name: str, *, number: int, system_alias: str) -> Released:
        """Serve a version for good under a name that the stack makes (`ft:…`), beside whatever is live.

        No client's wish moves it; it goes when the adapter is retired or deleted. Done again it changes nothing.
        """
        public = rules.require_system_name(system_alias)

        async def flip(change: AdapterChange, adapter: AdapterRow) -> AliasRow:
            known = await change.alias(actor.org, public)
            return rules.served(known, adapter, name=public, number=number, now=self._clock.now())

        return await self._released(Wish(actor, name, number, "serve"), flip)

    async def load(self, actor: Actor, name: str, *, number: int, warm_s: float) -> Loaded:
        """A version onto every replica, where its immutable name can be called; no alias changes.

        After `warm_s` it is unloaded, unless it was released by then; no other release ends that time early. Raises
        `ReleaseStopped`, with nothing changed, when a replica cannot load it.
        """
        wish = Wish(actor, name, number, "load")
        async with self._claimed(wish) as claim:
            loads = await self._loaded(claim)
            row, mark = await self._warmed(wish, claim, warm_s=warm_s)
        await self._replicas.load(claim.adapter.base, ref_of(claim.adapter, row))
        return Loaded(claim.adapter, row, loads, await self._followers.confirmed(mark))

    async def canary(
        self,
        actor: Actor,
        name: str,
        *,
        number: int,
        weight: float,
        bounds: Mapping[str, Any] | None = None,
        alias: str | None = None,
    ) -> Released:
        """Let a part of the callers (weight in percent) try a version, on every replica, and judge it."""

        async def flip(change: AdapterChange, adapter: AdapterRow) -> AliasRow:
            known = await change.alias(actor.org, self._public(alias, adapter))
            terms = {
                "version": number,
                "by": actor.name,
                "bounds": dict(rules.bounds_of(known, number) if bounds is None else bounds),
                "since": self._clock.now(),  # the loading is no part of the trial
            }
            return rules.tried(known, adapter, number=number, weight=weight, terms=terms, now=self._clock.now())

        return await self._released(Wish(actor, name, number, "canary"), flip)

    async def rollback(self, actor: Actor, name: str, *, alias: str | None = None) -> Released:
        """End a canary, or else go back to the version that was live before: at once while that one is warm."""
        adapter = await self._require(actor.org, name)
        known = await self._table.alias(actor.org, self._public(alias, adapter))
        if known is None:
            raise NotFound("Nothing is live under this name.", param="alias")
        if known.canary is None:
            return await self._back(actor, adapter, known=known)
        return await self.end_canary(actor, adapter, known=known)

    async def end_canary(
        self, actor: Actor, adapter: AdapterRow, *, known: AliasRow, evidence: Mapping[str, Any] | None = None
    ) -> Released:
        """End the very trial that `known` shows, and nothing else: what came after it is somebody's wish."""
        async with self._table.changing() as change:
            alias = await change.alias(actor.org, known.name)
            if alias is None or (alias.adapter, alias.targets, alias.canary) != (
                adapter.id,
                known.targets,
                known.canary,
            ):
                raise InvalidRequest("The alias was changed in the same moment. Look at its status.", param="alias")
            row = rules.untried(alias, now=self._clock.now())
            await change.put_alias(row)
            await self._drain(change, adapter)
            detail = {"alias": alias.name, "canary": alias.canary, "evidence": dict(evidence or {})}
            await self._note(change, actor, action="rollback", subject=adapter.name, detail=detail)
        return Released(adapter, row, (), await self._followers.confirmed(change.mark))

    async def retire(self, actor: Actor, name: str) -> AdapterRow:
        """Take an adapter's aliases away and unload its versions when their last calls have ended."""
        now = self._clock.now()
        async with self._table.changing() as change:
            adapter = rules.require_adapter(await change.adapter(actor.org, name))
            for alias in await change.aliases(adapter.id):
                await change.drop_alias(alias.org, alias.name)
            for row in await change.versions(adapter.id):
                if row.state == "ready":
                    await change.put_version(rules.stepped(row, "draining", now=now, warm_until=now))
                elif row.state == "draining":
                    await change.put_version(replace(row, warm_until=now))
                elif row.state == "validated":
                    await change.put_version(rules.stepped(row, "retired", now=now))
            await self._note(change, actor, action="retire", subject=name, detail={})
        await self._followers.confirmed(change.mark)
        return adapter

    async def take_back(self, adapter: AdapterRow, row: VersionRow, *, actor: Actor, detail: Mapping[str, Any]) -> None:
        """A load that will not be finished: as if it had never begun. Replicas forget it at the next look."""
        async with self._table.changing() as change:
            found = await change.version(adapter.id, row.number)
            if found is None or (found.state, found.holder, found.state_at) != ("loading", row.holder, row.state_at):
                return
            await change.put_version(rules.stepped(found, "validated", now=self._clock.now()))
            await self._note(
                change, actor, action="load stopped", subject=adapter.name, detail={"version": row.number, **detail}
            )

    async def _back(self, actor: Actor, adapter: AdapterRow, *, known: AliasRow) -> Released:
        number = rules.way_back(known)

        async def flip(change: AdapterChange, adapter: AdapterRow) -> AliasRow:
            now_known = await change.alias(actor.org, known.name)
            if now_known is None or now_known.targets != known.targets:
                raise InvalidRequest("The alias was changed in the same moment. Look at its status.", param="alias")
            return rules.pointed(now_known, adapter, name=known.name, number=number, now=self._clock.now())

        return await self._released(Wish(actor, adapter.name, number, "rollback"), flip)

    async def _released(self, wish: Wish, flip: Flip) -> Released:
        """The story of every release: claim, load everywhere, flip, and wait until every gateway works by it."""
        async with self._claimed(wish, flip) as claim:
            loads = await self._loaded(claim)
            self._terms.crash.reach("adapters.loaded")
            alias, mark = await self._flipped(wish, claim, flip=flip, loads=loads)
        self._terms.crash.reach("adapters.flipped")
        # A replica that came in between has read an older state: it is brought to this one before anybody waits for it.
        await self._replicas.load(claim.adapter.base, ref_of(claim.adapter, claim.version))
        return Released(claim.adapter, alias, loads, await self._followers.confirmed(mark))

    @asynccontextmanager
    async def _claimed(self, wish: Wish, flip: Flip | None = None) -> AsyncIterator[Claim]:
        """The version, in `loading` by us unless replicas have it already; a block that raises takes that back."""
        claim = await self._claim(wish, flip)
        self._terms.crash.reach("adapters.claimed")
        with self._terms.in_hand.holding(claim.adapter.id, claim.version.number):
            try:
                yield claim
            except BaseException as error:
                if claim.fresh:
                    reason = {"reason": str(error)[:500] or type(error).__name__}
                    await asyncio.shield(self.take_back(claim.adapter, claim.version, actor=wish.actor, detail=reason))
                raise

    async def _claim(self, wish: Wish, flip: Flip | None) -> Claim:
        actor, number = wish.actor, wish.number
        async with self._table.changing() as change:
            adapter = rules.require_adapter(await change.adapter(actor.org, wish.name))
            row = rules.require_row(await change.version(adapter.id, number), number)
            rules.require_base(adapter, row, revisions=self._revisions)
            if flip is not None:
                await flip(change, adapter)  # what could not be done afterwards is not begun
            if row.state in LOADED:
                if row.state == "draining":  # its warm time does not end under our hands
                    until = max(row.warm_until or 0.0, self._clock.now() + AT_HAND_S)
                    row = replace(row, warm_until=until, holder=None)
                    await change.put_version(row)
                return Claim(adapter, row, fresh=False)
            if row.state == "loading":
                raise Taken(f"Version {number} is being loaded by another call.", param="version")
            row = rules.stepped(row, "loading", now=self._clock.now(), holder=self._terms.gateway)
            await change.put_version(row)
            await self._note(change, actor, action="load", subject=wish.name, detail={"version": number})
        return Claim(adapter, row, fresh=True)

    async def _loaded(self, claim: Claim) -> list[Outcome]:
        """Every replica's acknowledgement; raises `ReleaseStopped` with the name of one that cannot."""
        if not self._replicas.of(claim.adapter.base):
            raise ReleaseStopped(
                f"No replica of {claim.adapter.base!r} is running. Nothing was changed.", retry_after_s=5
            )
        loads = await self._replicas.load(claim.adapter.base, ref_of(claim.adapter, claim.version))
        if failed := [load for load in loads if load.problem is not None]:
            raise _stopped(failed)
        return loads

    async def _flipped(self, wish: Wish, claim: Claim, *, flip: Flip, loads: Sequence[Outcome]) -> tuple[AliasRow, int]:
        """One transaction: the version is ready, the alias points to it, what no alias names drains."""
        adapter, number = claim.adapter, wish.number
        async with self._table.changing() as change:
            row = await _ours(change, claim)
            alias = await flip(change, adapter)
            if row.state != "ready":
                await change.put_version(rules.stepped(row, "ready", now=self._clock.now()))
            await change.put_alias(alias)
            await self._drain(change, adapter)
            detail = {
                "alias": alias.name,
                "version": number,
                "targets": [list(target) for target in alias.targets],
                "loads_ms": {load.replica: load.times_ms for load in loads},
            }
            await self._note(change, wish.actor, action=wish.action, subject=adapter.name, detail=detail)
            self._terms.crash.reach("adapters.before_flip")
        return alias, change.mark

    async def _warmed(self, wish: Wish, claim: Claim, *, warm_s: float) -> tuple[VersionRow, int]:
        """In one transaction from loading to draining, so that no release in between finds it ready and unnamed."""
        now = self._clock.now()
        async with self._table.changing() as change:
            row = await _ours(change, claim)
            if row.state == "loading":
                row = rules.stepped(row, "ready", now=now)
                row = rules.stepped(row, "draining", now=now, warm_until=now + warm_s)
            elif row.state == "draining":
                row = replace(row, warm_until=max(row.warm_until or 0.0, now + warm_s), holder=None)
            await change.put_version(row)
            detail = {"version": row.number, "warm_until": row.warm_until}
            await self._note(change, wish.actor, action="loaded", subject=claim.adapter.name, detail=detail)
        return row, change.mark

    async def _drain(self, change: AdapterChange, adapter: AdapterRow) -> None:
        now = self._clock.now()
        for row in rules.unnamed(await change.versions(adapter.id), await change.aliases(adapter.id)):
            warm_until = now + self._terms.warm_s
            await change.put_version(rules.stepped(row, "draining", now=now, warm_until=warm_until))

    async def followed(self, mark: int) -> list[str]:
        """Wait until every gateway that lives works by this mark of the registry; the ones that do not."""
        return await self._followers.confirmed(mark)

    async def _require(self, org: str, name: str) -> AdapterRow:
        return rules.require_adapter(await self._table.find(org, name))

    def _public(self, alias: str | None, adapter: AdapterRow) -> str:
        if alias is None:
            return adapter.name
        return rules.require_free_name(alias, taken=self._terms.model_names, param="alias")

    async def _note(
        self, change: AdapterChange, actor: Actor, *, action: str, subject: str, detail: Mapping[str, Any]
    ) -> None:
        await change.note(AuditRow(self._clock.now(), actor.org, actor.name, action, subject, detail))


async def _ours(change: AdapterChange, claim: Claim) -> VersionRow:
    """The version that we have loaded, unless somebody took it from us."""
    number = claim.version.number
    row = rules.require_row(await change.version(claim.adapter.id, number), number)
    if row.state not in LOADED and (row.state, row.holder, row.state_at) != claim.held:
        raise Taken(f"Version {number} was taken over by another call.", param="version")
    return row


def _stopped(failed: Sequence[Outcome]) -> ReleaseStopped:
    first = failed[0]
    others = f" So could {len(failed) - 1} more." if len(failed) > 1 else ""
    problem = (first.problem or "").rstrip(".")
    return ReleaseStopped(
        f"Replica {first.replica} could not load the version: {problem}.{others} Nothing was changed.", retry_after_s=5
    )

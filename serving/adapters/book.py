"""The book that names are looked up in: which version of which adapter a call means, in memory, for one gateway.

Owns the look-up, the division of callers between a live version and its canary, and that other processes can tell how
far this gateway has followed. Does not own rows (`serving/store/adapters.py`) or what may be released (`releases.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from models.adapters.names import Cohort, ServedAdapter
from models.adapters.states import LOADED
from models.clock import Clock
from models.errors import Unavailable
from models.types import GenerationRequest, Principal
from serving.periodic import Periodic
from serving.store.adapters import MARK, AdapterRow, AdapterTable, AliasRow, Snapshot, VersionRow, ref_of
from serving.store.views import ViewTable

REFRESH_S = 0.25
RETRY_AFTER_S = 2.0
PARTS = 10_000

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Name:
    """What one public name means: its versions with their weights in percent, the live one first."""

    alias: str
    targets: tuple[tuple[ServedAdapter, float], ...]

    def pick(self, sticky: str) -> ServedAdapter:
        """The version for this session, user or key: always the same one while the weights stand, and a weight that
        grows takes nobody back.
        """
        if len(self.targets) == 1:
            return self.targets[0][0]
        edge = 0.0
        for adapter, weight in self.targets[1:]:
            edge += weight
            told = f"{self.alias}\0{adapter.number}\0{sticky}".encode("utf-8", "surrogatepass")
            share = int.from_bytes(hashlib.sha256(told).digest()[:8]) % PARTS
            if share < edge * PARTS / 100:
                return adapter
        return self.targets[0][0]


@dataclass(frozen=True, slots=True)
class Page:
    """The names of one moment, ready to be looked up by (org, name)."""

    mark: int
    names: dict[Key, Name]
    pinned: dict[Key, ServedAdapter]
    loading: frozenset[Key]
    orgs: dict[str, tuple[Name, ...]]


EMPTY = Page(0, {}, {}, frozenset(), {})


class AdapterBook:
    """Looks names up; never a database call on a request's way."""

    def __init__(
        self,
        table: AdapterTable,
        views: ViewTable,
        *,
        revisions: Mapping[str, str],
        gateway: str,
        heartbeat_s: float,
        clock: Clock,
    ) -> None:
        """`revisions`: card → the base revision that is served; `heartbeat_s`: how often the others hear of this
        gateway when nothing changes.
        """
        self._table = table
        self._views = views
        self._revisions = revisions
        self._gateway = gateway
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._page = EMPTY
        self._told: tuple[int, float] | None = None

    @asynccontextmanager
    async def open(self, *, refresh_s: float = REFRESH_S) -> AsyncGenerator[None]:
        """Follow the registry while the block is open. Says so before it reads: a release in between then waits."""
        await self._views.saw(self._gateway, MARK, value=0, now=self._clock.now())
        await self.refresh()
        try:
            async with Periodic(self.refresh, every_s=refresh_s):
                yield
        finally:
            await self._views.gone(self._gateway)

    async def refresh(self) -> None:
        """Read the registry again if it has changed, and tell the others how far we are."""
        mark = await self._table.mark()
        if mark != self._page.mark:
            self._page = page_of(await self._table.snapshot(self._revisions))
        now = self._clock.monotonic()
        if self._told is None or self._told[0] != self._page.mark or now - self._told[1] >= self._heartbeat_s:
            await self._views.saw(self._gateway, MARK, value=self._page.mark, now=self._clock.now())
            self._told = (self._page.mark, now)

    def find(self, request: GenerationRequest, caller: Principal) -> ServedAdapter | None:
        """The version that this call means; None when its model is no adapter of the caller's org.

        Raises `Unavailable` for an adapter whose first version is being loaded.
        """
        key = (caller.org, request.model)
        if (name := self._page.names.get(key)) is not None:
            return name.pick(sticky_of(request, caller))
        if (pinned := self._page.pinned.get(key)) is not None:
            return pinned
        if key in self._page.loading:
            raise Unavailable("The adapter is being loaded.", retry_after_s=RETRY_AFTER_S)
        return None

    def knows(self, name: str, caller: Principal) -> bool:
        """Whether this is an adapter of the caller's org that can be named now."""
        key = (caller.org, name)
        return key in self._page.names or key in self._page.pinned or key in self._page.loading

    def names_of(self, org: str) -> Sequence[Name]:
        """Every alias of an org, sorted."""
        return self._page.orgs.get(org, ())

    def versions(self) -> Iterator[ServedAdapter]:
        """Every version that is loaded, as it is called when it is pinned."""
        yield from self._page.pinned.values()


def sticky_of(request: GenerationRequest, caller: Principal) -> str:
    """Who keeps a version: the session, else the user whom the call names, else the key."""
    if request.session is not None:
        return f"session\0{request.session}"
    user = request.body.get("user")
    return f"user\0{user}" if isinstance(user, str) and user else f"key\0{caller.key_id}"


def page_of(snapshot: Snapshot) -> Page:
    """A registry's state, ready to be looked up."""
    adapters = {row.id: row for row in snapshot.adapters}
    versions = {(row.adapter, row.number): row for row in snapshot.versions}
    names: dict[Key, Name] = {}
    for alias in sorted(snapshot.aliases, key=lambda row: row.name):
        found = _targets(alias, adapters[alias.adapter], versions=versions)
        if found:
            names[alias.org, alias.name] = Name(alias.name, found)
    loaded = [(adapters[row.adapter], row) for row in snapshot.versions if row.state in LOADED]
    owners = [adapters[row.adapter] for row in snapshot.versions if row.state == "loading"]
    loading = {(owner.org, owner.name) for owner in owners}
    orgs: dict[str, tuple[Name, ...]] = {}
    for (org, _), name in names.items():
        orgs[org] = (*orgs.get(org, ()), name)
    pinned = {}
    for adapter, row in loaded:
        served = _served(adapter, row, cohort="pinned")
        pinned[adapter.org, served.ref.engine_name] = served
    return Page(snapshot.mark, names, pinned, frozenset(loading - names.keys()), orgs)


def _targets(
    alias: AliasRow, adapter: AdapterRow, *, versions: dict[tuple[str, int], VersionRow]
) -> tuple[tuple[ServedAdapter, float], ...]:
    """What an alias points to, without what is not loaded."""
    found = []
    for place, (number, weight) in enumerate(alias.targets):
        row = versions.get((alias.adapter, number))
        if row is not None and row.state in LOADED:
            found.append((_served(adapter, row, cohort="canary" if place else "live"), weight))
    return tuple(found)


def _served(adapter: AdapterRow, row: VersionRow, *, cohort: Cohort) -> ServedAdapter:
    return ServedAdapter(adapter.name, row.number, ref_of(adapter, row), adapter.base, cohort)

"""Which router model is live: the book that every gateway keeps, and the rules of changing it.

Owns promote, set-threshold, shadow and rollback, and that a gateway moves to another version only when the classifiers
have it. Does not own SQL (`serving/store/releases.py`) or what a model is (`router/model.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from models.clock import Clock
from models.errors import InvalidRequest, NotFound
from serving.periodic import Periodic
from serving.store.releases import ReleaseRow, ReleaseTable

if TYPE_CHECKING:
    from router.manifest import PolicyName
    from router.model import RouterModel

REFRESH_S = 0.5
TRIES = 3


class ReleaseBook:
    """What is live, as this gateway knows it; never a database call on a request's way."""

    def __init__(self, releases: ReleaseTable, *, name: str) -> None:
        self._releases = releases
        self._name = name
        self._mark: int | None = None
        self.release: ReleaseRow | None = None

    @asynccontextmanager
    async def open(
        self, prepare: Callable[[str], Awaitable[None]], *, refresh_s: float = REFRESH_S
    ) -> AsyncGenerator[None]:
        """Follow the releases while the block is open; `prepare(version)` runs before a version becomes live."""

        async def refresh() -> None:
            await self.refresh(prepare)

        await refresh()
        async with Periodic(refresh, every_s=refresh_s):
            yield

    async def refresh(self, prepare: Callable[[str], Awaitable[None]]) -> None:
        """Read what is live again, if it has changed since the last time."""
        mark = await self._releases.mark()
        if mark == self._mark:
            return
        found = await self._releases.live(self._name)
        known = {self.release.version, self.release.shadow} if self.release is not None else set()
        for version in (found.version, found.shadow) if found is not None else ():
            if version is not None and version not in known:
                await prepare(version)
        self.release, self._mark = found, mark


class Releases:
    """Changes what is live. `find(version)` gives a published model, or raises `ConfigurationError`."""

    def __init__(
        self, table: ReleaseTable, *, name: str, policy: PolicyName, find: Callable[[str], RouterModel], clock: Clock
    ) -> None:
        self._table = table
        self._name = name
        self._policy = policy
        self._find = find
        self._clock = clock

    async def promote(self, version: str, *, threshold: float | None = None, share: float | None = None) -> ReleaseRow:
        """Make a version live: from the threshold, or the one for this share, or the one that it was calibrated to."""
        model = self._find(version)
        threshold, share = self._threshold(model, threshold=threshold, share=share)

        def promoted(_: ReleaseRow | None) -> ReleaseRow:
            return ReleaseRow(self._name, "promote", version, threshold, self._clock.now(), share=share)

        return await self._change(promoted)

    async def set_threshold(self, *, threshold: float | None = None, share: float | None = None) -> ReleaseRow:
        """Move the live version's threshold."""
        live = await self._live()
        moved, share = self._threshold(self._find(live.version), threshold=threshold, share=share)

        def with_threshold(current: ReleaseRow | None) -> ReleaseRow:
            if current is None or current.version != live.version:
                raise InvalidRequest(
                    "Another version was promoted in the same moment. Look at `penstock router status`."
                )
            return replace(current, action="set-threshold", threshold=moved, share=share, created_at=self._clock.now())

        return await self._change(with_threshold)

    async def shadow(self, version: str | None) -> ReleaseRow:
        """Let a version read along and be recorded, at the threshold for the live one's share; None ends it."""
        threshold = None
        if version is not None:
            live = await self._live()
            share = live.share
            if share is None:
                share = self._find(live.version).share_at(live.threshold, self._policy)
            threshold = self._find(version).threshold_for(share, self._policy)

        def shadowed(current: ReleaseRow | None) -> ReleaseRow:
            return replace(
                _required(current),
                action="shadow",
                shadow=version,
                shadow_threshold=threshold,
                created_at=self._clock.now(),
            )

        return await self._change(shadowed)

    async def rollback(self) -> ReleaseRow:
        """Back to the version, with its threshold, that was live before the present one."""
        history = await self._table.history(self._name, limit=1000)
        live = _required(history[0] if history else None)
        before = next((row for row in history if row.version != live.version), None)
        if before is None:
            raise NotFound(f"No other version than {live.version} was ever live: there is nothing to go back to.")

        def restored(_: ReleaseRow | None) -> ReleaseRow:
            return replace(before, action="rollback", shadow=None, shadow_threshold=None, created_at=self._clock.now())

        return await self._change(restored)

    async def _live(self) -> ReleaseRow:
        return _required(await self._table.live(self._name))

    async def _change(self, change: Callable[[ReleaseRow | None], ReleaseRow]) -> ReleaseRow:
        """Apply a change to what is live in the moment that it is written."""
        for _ in range(TRIES):
            current = await self._table.live(self._name)
            made = await self._table.add(change(current), after=current.id if current else 0)
            if made is not None:
                return made
        raise InvalidRequest("The router is being changed by others all the time. Look at `penstock router status`.")

    def _threshold(
        self, model: RouterModel, *, threshold: float | None, share: float | None
    ) -> tuple[float, float | None]:
        if threshold is not None:
            return threshold, None
        if share is not None:
            return model.threshold_for(share, self._policy), share
        kept = model.manifest.thresholds.get(self._policy)
        if kept is None:
            raise InvalidRequest(
                "This version was never calibrated: name --threshold or --large-share, or calibrate it first."
            )
        return kept, None


def _required(row: ReleaseRow | None) -> ReleaseRow:
    if row is None:
        raise NotFound("No router version is live. `penstock router promote VERSION` makes one.")
    return row

"""Which router model is live: the book that every gateway keeps, and the rules of changing it.

Owns promote, set-threshold, shadow and rollback, and that a gateway has the classifiers load a version before it moves
to it. Does not own SQL (`serving/store/releases.py`) or what a model is (`router/model.py`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from models.clock import Clock
from models.errors import InvalidRequest, NotFound
from serving.periodic import Periodic
from serving.store.releases import ReleaseRow, ReleaseTable

if TYPE_CHECKING:
    from router.manifest import PolicyName
    from router.model import RouterModel

REFRESH_S = 0.5
TRAFFIC = 5000
ENOUGH = 500
"""Prompts by whose scores a share is set: fewer leave it uncertain by more than 2 points."""
TRIES = 3


class Scores(Protocol):
    """What a version said of the last prompts that it decided about under a policy, newest first."""

    async def __call__(self, version: str, policy: str, *, limit: int) -> Sequence[float]: ...


class ReleaseBook:
    """What is live, as this gateway knows it; never a database call on a request's way."""

    def __init__(self, releases: ReleaseTable, *, name: str, policy: PolicyName) -> None:
        self._releases = releases
        self._name = name
        self._policy = policy
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
        found = await self._releases.live(self._name, self._policy)
        known = {self.release.version, self.release.shadow} if self.release is not None else set()
        wanted = {found.version, found.shadow} - known - {None} if found is not None else set()
        await asyncio.gather(*(prepare(version) for version in wanted if version is not None))
        self.release, self._mark = found, mark


class Releases:
    """Changes what is live. `find(version)` gives a published model, or raises `ConfigurationError`.

    `scores`: what a version said of its last prompts; they turn a share into a threshold where there
    are enough of them, because traffic is seldom like the prompts of the training.
    """

    def __init__(
        self,
        table: ReleaseTable,
        scores: Scores,
        *,
        name: str,
        policy: PolicyName,
        find: Callable[[str], RouterModel],
        clock: Clock,
    ) -> None:
        self._table = table
        self._scores = scores
        self._name = name
        self._policy = policy
        self._find = find
        self._clock = clock

    async def promote(self, version: str, *, threshold: float | None = None, share: float | None = None) -> ReleaseRow:
        """Make a version live: from the threshold, or the one for this share, or the one that it was calibrated to."""
        aim = await self._aim(version, threshold=threshold, share=share)

        def promoted(_: ReleaseRow | None) -> ReleaseRow:
            return ReleaseRow(
                self._name, self._policy, "promote", version, created_at=self._clock.now(), **aim._asdict()
            )

        return await self._change(promoted)

    async def set_threshold(self, *, threshold: float | None = None, share: float | None = None) -> ReleaseRow:
        """Move the live version's threshold."""
        live = await self._live()
        aim = await self._aim(live.version, threshold=threshold, share=share)

        def with_threshold(current: ReleaseRow | None) -> ReleaseRow:
            if current is None or current.version != live.version:
                raise InvalidRequest(
                    "Another version was promoted in the same moment. Look at `penstock router status`."
                )
            return replace(current, action="set-threshold", created_at=self._clock.now(), **aim._asdict())

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
        history = await self._table.history(self._name, self._policy, limit=1000)
        live = _required(history[0] if history else None)
        before = _before(live, history)
        if before is None:
            raise NotFound(f"No version was live before {live.version}: there is nothing to go back to.")
        self._find(before.version)  # one that is gone or broken would be worse than the one that is live

        def restored(current: ReleaseRow | None) -> ReleaseRow:
            if current is None or current.id != live.id:
                raise InvalidRequest("The router was changed in the same moment. Look at `penstock router status`.")
            return replace(before, action="rollback", shadow=None, shadow_threshold=None, created_at=self._clock.now())

        return await self._change(restored)

    async def _live(self) -> ReleaseRow:
        return _required(await self._table.live(self._name, self._policy))

    async def _change(self, change: Callable[[ReleaseRow | None], ReleaseRow]) -> ReleaseRow:
        """Apply a change to what is live in the moment that it is written."""
        for _ in range(TRIES):
            current = await self._table.live(self._name, self._policy)
            made = await self._table.add(change(current), after=current.id if current else 0)
            if made is not None:
                return made
        raise InvalidRequest("The router is being changed by others all the time. Look at `penstock router status`.")

    async def _aim(self, version: str, *, threshold: float | None, share: float | None) -> Aim:
        """What was asked for, as a threshold of this version, which is read in any case: a broken one is refused."""
        model = self._find(version)
        if threshold is not None:
            if not math.isfinite(threshold):
                raise InvalidRequest(
                    f"threshold: {threshold} is no number; a share of 0 or 1 is always-small or always-large.",
                    param="threshold",
                )
            return Aim(threshold, None, None)
        if share is None:
            kept = model.manifest.thresholds.get(self._policy)
            if kept is None:
                raise InvalidRequest(
                    "This version was never calibrated: name --threshold or --large-share, or calibrate it first."
                )
            return Aim(kept, None, "calibrated")
        if not 0 <= share <= 1:  # nor is NaN
            raise InvalidRequest(f"large_share: {share} is no share; it lies between 0 and 1.", param="large_share")
        seen = await self._scores(version, self._policy, limit=TRAFFIC) if 0 < share < 1 else ()
        if len(seen) < ENOUGH:
            return Aim(model.threshold_for(share, self._policy), share, "training prompts")
        return Aim(threshold_of(seen, share), share, f"the last {len(seen):,} prompts")


class Aim(NamedTuple):
    """A threshold, the share that it is meant to bring, and by which prompts."""

    threshold: float
    share: float | None
    basis: str | None


def threshold_of(scores: Sequence[float], share: float) -> float:
    """The threshold at or above which lies the part of the scores that is nearest to the share (0…1)."""
    ranked = sorted(scores, reverse=True)
    return ranked[max(0, min(len(ranked) - 1, round(share * len(ranked)) - 1))]


def _before(live: ReleaseRow, history: Sequence[ReleaseRow]) -> ReleaseRow | None:
    """What was live before this version was promoted: a second rollback goes further back, not forth again."""
    promoted = next(
        (at for at, row in enumerate(history) if row.action == "promote" and row.version == live.version), None
    )
    older = history[promoted + 1 :] if promoted is not None else ()
    return next((row for row in older if row.version != live.version), None)


def _required(row: ReleaseRow | None) -> ReleaseRow:
    if row is None:
        raise NotFound("No router version is live. `penstock router promote VERSION` makes one.")
    return row

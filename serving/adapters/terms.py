"""What releases go by, and waiting until every gateway has followed one. Owns neither rows nor replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from models.clock import Clock
from models.crash import CrashPoints
from serving.adapters.in_hand import InHand
from serving.periodic import ticks
from serving.store.adapters import MARK
from serving.store.views import ViewTable

CONFIRM_S = 15.0
CONFIRM_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ReleaseTerms:
    """What a release needs to know of its surroundings. `gateway`: this process; `warm_s`: how long a version that was
    replaced stays loaded; `gone_s`: after how long a silent gateway counts as gone;
    `in_hand`: what this process works on; `gateways`: how many serve now; `confirm_s`: the
    longest wait for them.
    """

    gateway: str
    warm_s: float
    gone_s: float
    model_names: frozenset[str]
    in_hand: InHand
    crash: CrashPoints
    gateways: Callable[[], int] = lambda: 1
    confirm_s: float = CONFIRM_S


class Followers:
    """The gateways that follow the registry."""

    def __init__(self, views: ViewTable, terms: ReleaseTerms, *, clock: Clock) -> None:
        self._views = views
        self._terms = terms
        self._clock = clock

    async def confirmed(self, mark: int) -> list[str]:
        """Return when every gateway that lives works by this mark; the ones that do not, when that takes too long."""
        behind: list[str] = []
        polls = ticks(CONFIRM_POLL_S)
        await anext(polls)  # the first one is at once
        with suppress(TimeoutError):
            async with asyncio.timeout(self._terms.confirm_s):
                while behind := await self._behind(mark):
                    await anext(polls)
        return behind

    async def _behind(self, mark: int) -> list[str]:
        """The gateways that have not followed to this mark; also those that serve and cannot say so."""
        since = self._clock.now() - self._terms.gone_s
        if behind := await self._views.behind(MARK, mark, since=since):
            return behind
        silent = self._terms.gateways() - len(await self._views.alive(MARK, since=since))
        return ["one that does not reach the database"] * max(0, silent)

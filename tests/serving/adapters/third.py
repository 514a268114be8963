"""The parts of a third gateway beside those of a stand, in a test's own hands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from models.clock import SystemClock
from models.crash import CrashPoints
from serving.adapters.in_hand import InHand
from serving.adapters.releases import Releases
from serving.adapters.replicas import open_replicas
from serving.adapters.terms import ReleaseTerms
from tests.serving.adapters.stand import SMALL, TOKEN, Stand, base


@asynccontextmanager
async def releases_of(stand: Stand, *, gateways: int = 1) -> AsyncIterator[Releases]:
    """A third gateway's, in this test's hands."""
    terms = ReleaseTerms(
        gateway="third",
        warm_s=30,
        gone_s=5,
        model_names=frozenset({"auto", SMALL}),
        in_hand=InHand(),
        crash=CrashPoints(None),
        gateways=lambda: gateways,
        confirm_s=2.0,
    )
    async with open_replicas(stand.directory, token=TOKEN, load_s=10) as replicas:
        yield Releases(
            stand.store.adapters,
            stand.store.views,
            replicas=replicas,
            revisions={SMALL: base().revision},
            terms=terms,
            clock=SystemClock(),
        )

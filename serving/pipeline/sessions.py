"""Conversations: which tier one has reached, so that it does not flap. The tier may rise from call to call, not fall.

A conversation is what the client calls one (a session id), or else all calls with the same beginning: everything up to
the first user message. Owns its name and this gateway's memory of it; the record of the last call tells what other
gateways did. Does not choose a tier.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from models.clock import Clock
from models.errors import PenstockError
from models.types import TIERS, GenerationRequest, Principal, Tier

KEPT = 50_000
KEEP_S = 3600.0

Find = Callable[[str, float], Awaitable[str | None]]


class Sessions:
    """Remembers tiers by conversation. `find(session, since)` reads the last record's, or raises `PenstockError`."""

    def __init__(
        self,
        find: Find,
        *,
        secret: bytes,
        clock: Clock,
        look_up_s: float,
        gateways: Callable[[], int] = lambda: 1,
        kept: int = KEPT,
    ) -> None:
        """`secret`: keyed into the names, so that a record does not tell what a prompt began with; `gateways`: how many
        serve now; `look_up_s`: the longest wait for what they put on record."""
        self._find = find
        self._secret = secret
        self._clock = clock
        self._gateways = gateways
        self._look_up_s = look_up_s
        self._kept = kept
        self._tiers: OrderedDict[str, tuple[Tier, float]] = OrderedDict()
        self._asking: set[asyncio.Task[str | None]] = set()

    def name(self, request: GenerationRequest, caller: Principal) -> str | None:
        """The conversation's name, which is the org's own; None for a request that belongs to none."""
        if request.session is not None:
            told = f"id\0{request.session}"
        elif (beginning := _beginning(request.body)) is not None:
            told = f"prefix\0{beginning}"
        else:
            return None
        text = f"{caller.org}\0{told}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, text, "sha256").hex()[:32]

    async def least(self, session: str, request: GenerationRequest) -> Tier | None:
        """The tier that this conversation has reached; None for a new one, or when nobody can tell in time."""
        if not _goes_on(request):
            return None
        known = self._known(session)
        if known == TIERS[-1] or (known is not None and self._gateways() == 1):
            return known
        found = await self._recorded(session)  # it may have risen at another gateway since it was here
        return next((tier for tier in reversed(TIERS) if tier in (known, found)), None)

    def reached(self, session: str, tier: Tier, *, request: GenerationRequest) -> None:
        """This call of the conversation was routed to this tier; of calls at the same time the higher one counts."""
        known = self._tiers.get(session)
        if known is not None and _goes_on(request) and TIERS.index(known[0]) > TIERS.index(tier):
            tier = known[0]
        self._tiers[session] = (tier, self._clock.monotonic())
        self._tiers.move_to_end(session)
        if len(self._tiers) > self._kept:
            self._tiers.popitem(last=False)

    def _known(self, session: str) -> Tier | None:
        """What this gateway remembers."""
        tier, since = self._tiers.get(session, (None, 0.0))
        return tier if self._clock.monotonic() - since <= KEEP_S else None

    async def _recorded(self, session: str) -> str | None:
        """What another gateway, or this one before a restart, put on record. A slow database is not waited for."""
        asked = asyncio.ensure_future(self._find(session, self._clock.now() - KEEP_S))
        self._asking.add(asked)
        asked.add_done_callback(self._asked)
        await asyncio.wait({asked}, timeout=self._look_up_s)
        if not asked.done() or asked.cancelled() or asked.exception() is not None:
            asked.cancel()
            return None
        return asked.result()

    def _asked(self, task: asyncio.Task[str | None]) -> None:
        self._asking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, PenstockError):
            raise error


def _goes_on(request: GenerationRequest) -> bool:
    """Whether this is a later call of a conversation, as far as the request tells."""
    if request.session is not None:
        return True
    messages = request.body.get("messages")
    return isinstance(messages, list) and any(message.get("role") == "assistant" for message in messages)


def _beginning(body: Mapping[str, Any]) -> str | None:
    """A chat's messages up to the first of the user, as text; None for what is no chat."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return None
    parts: list[str] = []
    for message in messages:
        parts.append(f"{message.get('role')}\0{message.get('content')}")
        if message.get("role") == "user":
            return "\0".join(parts)
    return None

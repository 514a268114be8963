"""The replicas of a card as a release sees them: load a version on each, unload it, ask what each holds.

Owns the HTTP to the replicas' doors. Does not decide what is to be loaded (`releases.py`, `housekeeping.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from models.adapters.names import AdapterRef
from models.ports import EndpointDirectory
from models.types import Endpoint

ASK_S = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a load on one replica: its times, or why it could not. `told_ms` is the gateway's: from asking the
    replica to its word, which holds the others.
    """

    replica: str
    times_ms: dict[str, float]
    problem: str | None = None


class Replicas:
    """Talks to the doors of all replicas of a card."""

    def __init__(self, directory: EndpointDirectory, client: aiohttp.ClientSession, *, load_s: float) -> None:
        """`load_s`: the longest that one load, with its warm-up, may take."""
        self._directory = directory
        self._client = client
        self._load_s = load_s

    def of(self, card: str) -> Sequence[Endpoint]:
        """The replicas known now."""
        return self._directory.endpoints(card)

    async def load(self, card: str, ref: AdapterRef) -> list[Outcome]:
        """Load a version on every replica at once, and on those that come while it loads; one outcome for each."""
        outcomes: dict[str, Outcome] = {}
        while new := [endpoint for endpoint in self.of(card) if endpoint.replica not in outcomes]:
            for outcome in await asyncio.gather(*(self._load(endpoint, ref) for endpoint in new)):
                outcomes[outcome.replica] = outcome
        return list(outcomes.values())

    async def unload(self, endpoint: Endpoint, engine_name: str, *, wait_s: float) -> bool:
        """Unload a version on one replica when its last call has ended; False when it is still busy, or unreachable."""
        url = f"{endpoint.base_url}/adapters/{engine_name}"
        try:
            timeout = aiohttp.ClientTimeout(total=wait_s + ASK_S)
            async with self._client.delete(url, params={"wait_s": f"{wait_s:g}"}, timeout=timeout) as answer:
                return answer.status in (200, 404)
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def status(self, endpoint: Endpoint) -> dict[str, Any] | None:
        """What one replica says of its adapters; None when it does not answer."""
        try:
            timeout = aiohttp.ClientTimeout(total=ASK_S)
            async with self._client.get(f"{endpoint.base_url}/adapters", timeout=timeout) as answer:
                found: dict[str, Any] | None = await answer.json() if answer.status == 200 else None
                return found
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    async def _load(self, endpoint: Endpoint, ref: AdapterRef) -> Outcome:
        body = {"engine_name": ref.engine_name, "artifact": ref.artifact, "digest": ref.digest}
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            timeout = aiohttp.ClientTimeout(total=self._load_s)
            async with self._client.put(f"{endpoint.base_url}/adapters", json=body, timeout=timeout) as answer:
                found = await answer.json()
                told_ms = round(1000 * (clock() - began), 1)
        except TimeoutError:
            return Outcome(endpoint.replica, {}, f"it did not load within {self._load_s:g} s")
        except (aiohttp.ClientError, ValueError) as error:
            return Outcome(endpoint.replica, {}, f"it does not answer ({type(error).__name__})")
        if answer.status == 200:
            times = {name: float(found[name]) for name in found if name.endswith("_ms")}
            return Outcome(endpoint.replica, {**times, "told_ms": told_ms})
        told = found.get("error") or {}
        return Outcome(endpoint.replica, {}, str(told.get("message", f"it answers {answer.status}")))


@asynccontextmanager
async def open_replicas(directory: EndpointDirectory, *, token: str, load_s: float) -> AsyncGenerator[Replicas]:
    """The replicas behind a directory, with connections of their own: a release is seldom and may be slow."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as client:
        yield Replicas(directory, client, load_s=load_s)

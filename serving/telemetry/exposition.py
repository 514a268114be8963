"""What a scrape of `/metrics` gets: this gateway, the other gateways, and the engines behind them, in one text.

Owns asking and publishing. Does not own the format (`families.py`) or how an engine is asked (the callable passed in).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress

from finetune.jobs import STEPS
from models.clock import Clock
from models.types import Endpoint
from serving.periodic import Periodic
from serving.store.database import StoreDown
from serving.store.gateways import GatewayTable
from serving.telemetry.families import Families
from serving.telemetry.metrics import Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PUBLISH_S = 5.0
STALE_S = 30.0
FETCH_S = 2.0
STATUSES = tuple(STEPS)
UP = "# HELP penstock_engine_up Whether a replica gave its figures.\n# TYPE penstock_engine_up gauge\n"


JOBS = "# HELP penstock_fine_tuning_jobs Jobs by status.\n# TYPE penstock_fine_tuning_jobs gauge\n"


class Engines:
    """The engine replicas as a scrape sees them. `fetch` gets an endpoint's `/metrics` text, or raises."""

    def __init__(
        self, endpoints: Callable[[], Iterable[Endpoint]], fetch: Callable[[Endpoint], Awaitable[str]]
    ) -> None:
        self._endpoints = endpoints
        self._fetch = fetch

    async def texts(self) -> list[tuple[Endpoint, str | None]]:
        """Each replica with its text; None where it did not answer in time."""
        endpoints = list(self._endpoints())
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._text(endpoint)) for endpoint in endpoints]
        return [(endpoint, task.result()) for endpoint, task in zip(endpoints, tasks, strict=True)]

    async def _text(self, endpoint: Endpoint) -> str | None:
        try:
            async with asyncio.timeout(FETCH_S):
                return await self._fetch(endpoint)
        except Exception:  # noqa: BLE001 - whatever a replica does, the other figures are still answered
            return None


class Exposition:
    """One gateway's side of the scrape. `gateway` is this process's id and a label on each of its samples."""

    def __init__(
        self,
        metrics: Metrics,
        gateways: GatewayTable,
        *,
        gateway: str,
        engines: Engines,
        clock: Clock,
        jobs: Callable[[], Awaitable[Mapping[str, int]]] | None = None,
    ) -> None:
        """`jobs`: how many fine-tuning jobs are in each status, of the whole stack."""
        self._jobs = jobs
        self._metrics = metrics
        self._gateways = gateways
        self._gateway = gateway
        self._engines = engines
        self._clock = clock
        self._published, self._published_at = "", 0.0

    @asynccontextmanager
    async def open(self, *, every_s: float = PUBLISH_S) -> AsyncGenerator[Exposition]:
        """Publish this gateway's figures for the others while the block is open, and take them back after it."""
        async with Periodic(self.publish, every_s=every_s):
            yield self
        with suppress(StoreDown):
            await self._gateways.forget(self._gateway)

    async def publish(self) -> None:
        """Put this gateway's figures where the other gateways find them, unless nothing has changed for a while."""
        own, now = self._own(), self._clock.now()
        if own != self._published or now - self._published_at > STALE_S / 2:
            await self._gateways.publish(self._gateway, own, now=now)
            self._published, self._published_at = own, now

    async def exposition(self) -> bytes:
        """The whole answer of one scrape."""
        families = Families()
        families.add(self._own())
        for peer in await self._peers():
            families.add(peer)
        for endpoint, text in await self._engines.texts():
            labels = {"card": endpoint.card, "replica": endpoint.replica}
            taken = families.add(text, labels) if text is not None else 0
            families.add(f"{UP}penstock_engine_up {int(taken > 0)}\n", labels)
        families.add(await self._job_counts())
        return families.text().encode()

    async def _job_counts(self) -> str:
        """Once for the whole stack: whichever gateway is asked reads the same rows."""
        if self._jobs is None:
            return ""
        try:
            found = await self._jobs()
        except StoreDown:
            return ""
        samples = (f'penstock_fine_tuning_jobs{{status="{name}"}} {found.get(name, 0)}\n' for name in STATUSES)
        return JOBS + "".join(samples)

    def _own(self) -> str:
        families = Families()
        families.add(self._metrics.text(), {"gateway": self._gateway})
        return families.text()

    async def _peers(self) -> list[str]:
        try:
            return await self._gateways.others(self._gateway, since=self._clock.now() - STALE_S)
        except StoreDown:
            return []

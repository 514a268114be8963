"""The desk: everything of adapters that the HTTP layer needs, put together, and work that outlives its caller.

A release goes on when whoever asked for it hangs up: half a release is what nobody wants. Owns nothing else.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from models.adapters.archive import pack
from models.clock import SystemClock
from models.errors import InvalidRequest, NotFound
from serving.adapters.registry import AdapterRegistry, Received
from serving.adapters.releases import Releases
from serving.adapters.replicas import Replicas
from serving.adapters.withdrawal import Withdrawal
from serving.store.adapters import AdapterTable, AliasRow

T = TypeVar("T")


class AdapterDesk:
    """Open it with `async with`: at its end it waits for the releases that are under way."""

    def __init__(
        self,
        registry: AdapterRegistry,
        releases: Releases,
        *,
        table: AdapterTable,
        replicas: Replicas,
        bases: Sequence[str],
        work: Path,
    ) -> None:
        self.registry = registry
        self.withdraw = Withdrawal(table, releases, registry=registry, clock=SystemClock())
        self.releases = releases
        self.work = work
        self._table = table
        self._replicas = replicas
        self._bases = bases
        self._running: set[asyncio.Future[Any]] = set()

    async def __aenter__(self) -> AdapterDesk:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await asyncio.gather(*self._running, return_exceptions=True)

    async def run(self, work: Awaitable[T]) -> T:
        """Do this to its end, whether or not the caller stays."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def alias(self, org: str, name: str) -> AliasRow:
        """Where a public name points."""
        found = await self._table.alias(org, name)
        if found is None:
            raise NotFound("There is no such alias.", param="alias")
        return found

    async def live(self, org: str, name: str) -> int | None:
        """The version to which a public name points, if there is one."""
        found = await self._table.alias(org, name)
        return None if found is None else found.targets[0][0]

    async def holdings(self, card: str, *, names: set[str | None]) -> list[dict[str, Any]]:
        """What each replica of a card says of these versions."""
        endpoints = self._replicas.of(card)
        told = await asyncio.gather(*(self._replicas.status(endpoint) for endpoint in endpoints))
        return [
            {
                "replica": endpoint.replica,
                "answers": status is not None,
                "adapters": [one for one in (status or {}).get("adapters", ()) if one["engine_name"] in names],
                **{key: value for key, value in (status or {}).items() if key != "adapters"},
            }
            for endpoint, status in zip(endpoints, told, strict=True)
        ]

    def only_base(self) -> str | None:
        """The card of an adapter that does not say its own, where there is one alone."""
        return self._bases[0] if len(self._bases) == 1 else None

    @asynccontextmanager
    async def packed(self, folder: Path) -> AsyncIterator[Received]:
        """A folder of this machine as a client would send it."""
        to = self.draft()
        try:
            try:
                await asyncio.to_thread(pack, folder, to)
            except OSError as error:
                raise InvalidRequest(
                    "The folder cannot be read on the gateway's machine.", param="lora_path", detail=str(error)
                ) from error
            yield Received(to, await asyncio.to_thread(lambda: to.stat().st_size))
        finally:
            await asyncio.to_thread(to.unlink, missing_ok=True)

    def draft(self) -> Path:
        """A name for a file that is on its way to a client."""
        return self.work / f"export-{secrets.token_hex(8)}.zip"

"""Taking one public name away together with the versions that only it made callable: how a fine-tuned model is deleted.

Owns that no call is cut: the name goes first, every gateway follows, and then the files go; what a gateway that died in
between has left, `sweep` ends. An adapter's other aliases and versions stay. Does not own releases (`releases.py`) or
files (`registry.py`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from models.clock import Clock
from models.errors import InvalidRequest, NotFound
from serving.adapters import rules
from serving.adapters.registry import AdapterRegistry
from serving.adapters.releases import Actor, Releases
from serving.store.adapters import AdapterChange, AdapterRow, AdapterTable, AuditRow

WITHDRAWN = "withdrawal"
"""Holds a version that is to go. Like every holder it is forgotten when somebody takes the version up again."""
SELF = "penstock"


class Withdrawal:
    """Deletes public names."""

    def __init__(self, table: AdapterTable, releases: Releases, *, registry: AdapterRegistry, clock: Clock) -> None:
        self._table = table
        self._releases = releases
        self._registry = registry
        self._clock = clock

    async def __call__(self, actor: Actor, name: str) -> None:
        """Delete an alias and the versions to which it points. Raises `InvalidRequest` where another alias needs one of
        them, and `NotFound` where the org has no such alias.
        """
        adapter = await self._adapter(actor, name)
        async with self._table.changing() as change:
            numbers = await self._its_own(change, adapter, name=name)
            await change.drop_alias(actor.org, name)
            await self._drained(change, adapter, numbers=numbers)
            detail = {"alias": name, "versions": numbers}
            await change.note(AuditRow(self._clock.now(), actor.org, actor.name, "delete model", adapter.name, detail))
        await self._releases.followed(change.mark)
        async with self._table.changing() as change:
            free = await self._retired(change, adapter, numbers=numbers)
        for number in free:
            await self._deleted(actor, adapter, number=number)

    async def sweep(self) -> None:
        """Delete what a withdrawal that was cut has left. Safe from several gateways at once, and beside another."""
        for adapter, row in await self._table.in_states("retired"):
            if row.holder == WITHDRAWN:
                await self._deleted(Actor(adapter.org, SELF), adapter, number=row.number)

    async def _deleted(self, actor: Actor, adapter: AdapterRow, *, number: int) -> None:
        with suppress(NotFound):  # another gateway's sweep was faster
            await self._registry.delete_version(actor, adapter.name, number=number)

    async def _adapter(self, actor: Actor, name: str) -> AdapterRow:
        adapters, _, aliases = await self._table.everything(actor.org)
        wanted = next((row.adapter for row in aliases if row.name == name), None)
        found = next((row for row in adapters if row.id == wanted), None)
        if found is None:
            raise _unknown()
        return found

    async def _its_own(self, change: AdapterChange, adapter: AdapterRow, *, name: str) -> list[int]:
        """The versions that go with an alias. Refused while a client's own alias serves one; a version that is another
        fine-tuned model as well, of a training of the same data and numbers, stays.
        """
        aliases = await change.aliases(adapter.id)
        alias = next((row for row in aliases if row.name == name), None)
        if alias is None:
            raise _unknown()
        numbers = {number for number, _ in alias.targets}
        for other in aliases:
            shared = numbers & {number for number, _ in other.targets}
            if other.name == name or not shared:
                continue
            if not rules.is_system_name(other.name):
                raise InvalidRequest(
                    f"The alias {other.name!r} serves this version: roll it back, or retire the adapter, first.",
                    code="file_in_use",
                    param="model",
                )
            numbers -= shared
        return sorted(numbers)

    async def _drained(self, change: AdapterChange, adapter: AdapterRow, *, numbers: list[int]) -> None:
        """No call gets these versions from now on."""
        now = self._clock.now()
        for row in await change.versions(adapter.id):
            if row.number not in numbers:
                continue
            drained = row if row.state != "ready" else rules.stepped(row, "draining", now=now, warm_until=now)
            await change.put_version(replace(drained, holder=WITHDRAWN))

    async def _retired(self, change: AdapterChange, adapter: AdapterRow, *, numbers: list[int]) -> list[int]:
        """Those versions that nobody has taken up again meanwhile; replicas let them go after their last call."""
        now = self._clock.now()
        named = {number for alias in await change.aliases(adapter.id) for number, _ in alias.targets}
        free = []
        for row in await change.versions(adapter.id):
            if row.number not in numbers or row.number in named or row.state not in ("draining", "retired"):
                continue
            if row.state == "draining":
                await change.put_version(rules.stepped(row, "retired", now=now, holder=row.holder))
            free.append(row.number)
        return free


def _unknown() -> NotFound:
    return NotFound("There is no such model, or it is another org's.", code="model_not_found", param="model")

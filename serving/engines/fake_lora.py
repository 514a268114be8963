"""Fakes that ship: an engine of adapters that counts as vLLM does and fails as told, and files without a store."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path

from models.adapters.names import AdapterRef, engine_name
from serving.engines.adapters import AdapterRefused, Slots


def made_ref(name: str, digit: str = "0") -> AdapterRef:
    """A version of this adapter; another digit makes it another one."""
    digest = digit * 64
    return AdapterRef(engine_name(name, digest), f"adp-{name}", digest)


class FakeLora:
    """A `LoraEngine` with so many slots and so much host memory.

    `refuses` maps engine names to why they cannot be loaded, `cold` to why they do not answer; `gate`, cleared, holds
    every load back.
    """

    def __init__(self, *, slots: int = 2, capacity: int = 4) -> None:
        self.refuses: dict[str, str] = {}
        self.cold: dict[str, str] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.names: dict[str, int] = {}
        self.added: list[str] = []
        self.removed: list[str] = []
        self.working = self.most_at_once = self.activations = 0
        self._slots: list[int | None] = [None] * slots
        self._host: OrderedDict[int, str] = OrderedDict()
        self._capacity = capacity

    async def add(self, ref: AdapterRef, folder: Path) -> int:
        """Load, unless it is told to refuse."""
        self.working += 1
        self.most_at_once = max(self.most_at_once, self.working)
        try:
            await self.gate.wait()
        finally:
            self.working -= 1
        self.added.append(ref.engine_name)
        number = len(self.added)
        if (why := self.refuses.get(ref.engine_name)) is not None:
            raise AdapterRefused(f"{folder.name}: {why}")
        if len(self._host) == self._capacity:
            self._leave_slot(self._host.popitem(last=False)[0])
        self._host[number] = ref.engine_name
        self._activate(number)
        self.names[ref.engine_name] = number
        return number

    async def warm(self, ref: AdapterRef) -> None:
        """Answer, unless it is told to fail."""
        if ref.engine_name in self.cold:
            raise AdapterRefused(self.cold[ref.engine_name])

    async def remove(self, ref: AdapterRef, number: int) -> None:
        """Forget."""
        self.names.pop(ref.engine_name, None)
        self.removed.append(ref.engine_name)
        self._host.pop(number, None)
        self._leave_slot(number)

    async def slots(self) -> Slots:
        """What lies where."""
        return Slots(tuple(self._slots), tuple(self._host), self._capacity, self.activations, loads=len(self.added))

    def _activate(self, number: int) -> None:
        if None not in self._slots:
            self._leave_slot(next(held for held in self._host if held in self._slots))
        self._slots[self._slots.index(None)] = number
        self.activations += 1

    def _leave_slot(self, number: int) -> None:
        if number in self._slots:
            self._slots[self._slots.index(number)] = None


class FakeFiles:
    """`Files` in a folder. `missing` maps engine names to why they cannot be fetched; `gate`, cleared, holds all."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.missing: dict[str, str] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.fetched: list[str] = []

    async def fetch(self, ref: AdapterRef) -> Path:
        """Make the folder."""
        self.fetched.append(ref.engine_name)
        await self.gate.wait()
        if ref.engine_name in self.missing:
            raise AdapterRefused(self.missing[ref.engine_name])
        folder = self._home / ref.engine_name
        folder.mkdir(exist_ok=True)
        return folder

    def there(self, folder: Path) -> bool:
        """Whether it is still there."""
        return folder.exists()

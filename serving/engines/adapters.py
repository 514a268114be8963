"""A replica's book of adapters: which versions are loaded, which calls use them, what went wrong with the others.

Owns when a version is fetched, loaded, kept and forgotten. Does not own its bytes (`adapter_files.py`), how an engine
takes it (`lora.py`), or who asks over HTTP (`adapter_door.py`). Knows no vLLM and no Ray.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from models.adapters.names import AdapterRef
from models.clock import Clock, SystemClock
from models.errors import PenstockError
from serving.engines.adapter_files import Files

log = logging.getLogger("ray.serve")

RETRY_S = 5.0  # a call does not try again what failed a moment ago; whoever loads on purpose does
MOST_FAILURES = 64
FETCHES = 4  # at once when a replica starts


class AdapterRefused(PenstockError):
    """The engine does not take this adapter, or does not answer with it."""

    default_code = "adapter_failed"


@dataclass(frozen=True, slots=True)
class Slots:
    """What the engine says of its adapters, by their ids: `slots` has one place for each that a batch can hold, `host`
    those in host memory, of at most `capacity`. `activations` and `loads` count copies into a slot and reads from disk.
    """

    slots: tuple[int | None, ...]
    host: tuple[int, ...]
    capacity: int
    activations: int
    loads: int


class LoraEngine(Protocol):
    """The engine as the shelf needs it. Raises `AdapterRefused`; what it refuses leaves nothing behind in it."""

    async def add(self, ref: AdapterRef, folder: Path) -> int:
        """Read the adapter from its folder, and know it by its engine name. Its id, which was never used before."""
        ...

    async def warm(self, ref: AdapterRef) -> None:
        """One tiny generation with it."""
        ...

    async def remove(self, ref: AdapterRef, number: int) -> None:
        """Forget the name, and free the memory of the id."""
        ...

    async def slots(self) -> Slots:
        """Which adapters lie where now."""
        ...


class LiveAdapters(Protocol):
    """Where a replica that starts reads what is live. Must be picklable: it travels to the replica."""

    async def read(self, card: str) -> Sequence[AdapterRef]:
        """Every version that calls may ask this card for, the most important ones first. May raise `PenstockError`."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """How long it took, in milliseconds, until a version's files were here, the engine had it, and it had answered."""

    fetched_ms: float
    loaded_ms: float
    warmed_ms: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a version cannot be had, or cannot go: a code for programs, a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A load that failed: of what, why, and when, by the wall and by the monotonic clock."""

    ref: AdapterRef
    failed: Failed
    at: float
    monotonic: float


class Load(NamedTuple):
    """A load that is under way."""

    ref: AdapterRef
    task: asyncio.Task[Loaded | Failed]


@dataclass(slots=True, eq=False)
class Version:
    """A loaded version. `idle` is set while no call runs."""

    ref: AdapterRef
    folder: Path
    number: int
    loaded: Loaded
    loaded_at: float
    running: int = 0
    served: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class AdapterShelf:
    """The versions of one replica. All of it runs in one event loop, and what is long in threads or in the engine.

    Files are fetched side by side. The engine is given one version at a time: it stands still while it reads one, and
    so its running answers get a step between two of them.
    """

    def __init__(self, engine: LoraEngine, files: Files, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._files = files
        self._clock = clock or SystemClock()
        self._versions: dict[str, Version] = {}
        self._loads: dict[str, Load] = {}
        self._removals: dict[str, asyncio.Task[Failed | None]] = {}
        self._failures: dict[str, Failure] = {}
        self._turn = asyncio.Lock()
        self._closed = False
        self.requests = 0

    @property
    def versions(self) -> Sequence[Version]:
        """What is loaded."""
        return list(self._versions.values())

    @property
    def loading(self) -> Sequence[AdapterRef]:
        """What is being loaded."""
        return [load.ref for load in self._loads.values()]

    @property
    def failures(self) -> Sequence[Failure]:
        """The last failure of each version that failed since it was last loaded."""
        return list(self._failures.values())

    async def slots(self) -> Slots:
        """The engine's own word. Raises `AdapterRefused`."""
        return await self._engine.slots()

    def ready(self, ref: AdapterRef) -> bool:
        """Whether a call may use it now. Looks at the disk too: vLLM reads a version again that it had to evict, in the
        middle of a step, and dies of a folder that is gone."""
        version = self._versions.get(ref.engine_name)
        return version is not None and version.ref.digest == ref.digest and self._files.there(version.folder)

    async def ensure(self, ref: AdapterRef, *, patient: bool = True) -> Loaded | Failed:
        """Have this version loaded and warm; who asks meanwhile gets the same load. Its end is not that of a caller
        who is cancelled. Without `patient`, what failed in the last `RETRY_S` is not tried again.
        """
        while (removal := self._removals.get(ref.engine_name)) is not None:
            await asyncio.wait((removal,))
        if self.ready(ref):
            return self._versions[ref.engine_name].loaded
        if (load := self._loads.get(ref.engine_name)) is not None:
            return await asyncio.shield(load.task)
        if (refusal := self._refusal(ref, patient=patient)) is not None:
            return refusal
        return await asyncio.shield(self._start(ref, self._files.fetch(ref)))

    async def fill(self, refs: Sequence[AdapterRef]) -> None:
        """Load all of these; what cannot be loaded is logged and kept among the failures.

        The engine has each of them read and tried, the first ones last: those stay in its host memory when there are
        more than it holds. One that was only noted down would be read in the middle of a step, which must not fail.
        """
        gate = asyncio.Semaphore(FETCHES)

        async def fetched(ref: AdapterRef) -> Path:
            async with gate:
                return await self._files.fetch(ref)

        wanted = {ref.engine_name: ref for ref in reversed(list(dict.fromkeys(refs)))}
        fetching = {name: asyncio.ensure_future(fetched(ref)) for name, ref in wanted.items()}
        try:
            for name, ref in wanted.items():
                if not self._closed:
                    await self._start(ref, fetching[name])
        finally:
            for task in fetching.values():
                task.cancel()

    @asynccontextmanager
    async def hold(self, ref: AdapterRef) -> AsyncIterator[Failed | None]:
        """One running call: inside, the version is loaded and stays so; or it could not be had, and this says why."""
        while not self.ready(ref):
            outcome = await self.ensure(ref, patient=False)
            if isinstance(outcome, Failed):
                yield outcome
                return
        version = self._versions[ref.engine_name]
        self.requests += 1
        version.running += 1
        version.served += 1
        version.idle.clear()
        try:
            yield None
        finally:
            version.running -= 1
            if not version.running:
                version.idle.set()

    async def drop(self, name: str, *, wait_s: float) -> Failed | None:
        """Forget a version and free its memory, as soon as no call uses it.

        New calls are let in as long as an old one runs, and wait while it goes, to have it loaded again: none is lost
        by a drop. `adapter_unknown` where it is not loaded, `adapter_busy` when calls ran until `wait_s` was over.
        """
        try:
            async with asyncio.timeout(wait_s):
                version = await self._idle(name)
        except TimeoutError:
            running = version.running if (version := self._versions.get(name)) is not None else 0
            return Failed(
                "adapter_busy", f"{name!r} is in use: {running} calls run after {wait_s:g} s. Try again later."
            )
        if version is None:
            self._failures.pop(name, None)
            return Failed("adapter_unknown", f"Adapter {name!r} is not loaded here.")
        return await asyncio.shield(self._removal(version))

    async def close(self) -> None:
        """Load nothing from now on; what is being loaded is given up. What is loaded stays, with its running calls."""
        self._closed = True
        await asyncio.sleep(0)  # a task that is ended before its first step never comes to say so
        loads = [load.task for load in self._loads.values()]
        for load in loads:
            load.cancel()
        if loads:
            await asyncio.wait(loads)

    async def _idle(self, name: str) -> Version | None:
        """The version, once it is neither being loaded nor in a call; None when there is none."""
        while (load := self._loads.get(name)) is not None:
            await asyncio.wait((load.task,))
        while (removal := self._removals.get(name)) is not None:
            await asyncio.wait((removal,))
        version = self._versions.get(name)
        while version is not None and version.running:
            await version.idle.wait()
        return version if version is self._versions.get(name) else None

    def _refusal(self, ref: AdapterRef, *, patient: bool) -> Failed | None:
        """Why a load is not even tried."""
        if self._closed:
            return Failed("server_shutting_down", "This replica is shutting down and loads no adapter any more.")
        held = self._versions.get(ref.engine_name)
        if held is not None and held.ref.digest != ref.digest:
            return Failed(
                "adapter_failed", f"{ref.engine_name!r} is loaded with other files. Publish under a new name."
            )
        last = self._failures.get(ref.engine_name)
        fresh = last is not None and last.ref == ref and self._clock.monotonic() - last.monotonic < RETRY_S
        return last.failed if last is not None and fresh and not patient else None

    def _start(self, ref: AdapterRef, fetching: Awaitable[Path]) -> asyncio.Task[Loaded | Failed]:
        """Begin a load. The task ends with a value, whatever happens."""
        task = asyncio.create_task(self._outcome(ref, fetching))
        self._loads[ref.engine_name] = Load(ref, task)
        task.add_done_callback(lambda _: self._loads.pop(ref.engine_name))
        return task

    async def _outcome(self, ref: AdapterRef, fetching: Awaitable[Path]) -> Loaded | Failed:
        try:
            loaded = await self._load(ref, fetching)
        except PenstockError as error:
            return self._failed(ref, error.public, detail=str(error))
        except asyncio.CancelledError:
            return Failed("server_shutting_down", f"Loading {ref.engine_name!r} was given up: the replica shuts down.")
        except Exception as error:  # a load that ends without a word would leave its callers without an answer
            log.exception("loading adapter %r", ref.engine_name)
            return self._failed(ref, f"{type(error).__name__} while it was loaded", detail=str(error))
        self._failures.pop(ref.engine_name, None)
        return loaded

    async def _load(self, ref: AdapterRef, fetching: Awaitable[Path]) -> Loaded:
        """Fetch, add, warm up. A version that is loaded already lacks its files only."""
        began = self._clock.monotonic()
        folder = await fetching
        fetched = self._clock.monotonic()
        if (held := self._versions.get(ref.engine_name)) is not None:
            held.folder = folder
            return held.loaded
        async with self._turn:
            turned = self._clock.monotonic()
            number = await self._engine.add(ref, folder)
            added = self._clock.monotonic()
            try:
                await self._engine.warm(ref)
            except BaseException:
                await self._engine.remove(ref, number)
                raise
        spans = (fetched - began, added - turned, self._clock.monotonic() - added)
        loaded = Loaded(*(round(1000 * seconds, 1) for seconds in spans))
        version = Version(ref, folder, number, loaded, self._clock.now())
        version.idle.set()
        self._versions[ref.engine_name] = version
        log.info("Adapter %r is loaded: %s", ref.engine_name, loaded)
        return loaded

    def _failed(self, ref: AdapterRef, why: str, *, detail: str) -> Failed:
        log.warning("Adapter %r cannot be loaded: %s", ref.engine_name, detail)
        failed = Failed("adapter_failed", f"Adapter {ref.engine_name!r} cannot be loaded: {why.rstrip('.')}.")
        self._failures.pop(ref.engine_name, None)
        self._failures[ref.engine_name] = Failure(ref, failed, self._clock.now(), self._clock.monotonic())
        if len(self._failures) > MOST_FAILURES:
            del self._failures[next(iter(self._failures))]
        return failed

    def _removal(self, version: Version) -> asyncio.Task[Failed | None]:
        """Take it out of the book at once, and out of the engine in a task that no caller's end ends."""
        name = version.ref.engine_name
        del self._versions[name]
        removal = self._removals[name] = asyncio.create_task(self._remove(version))
        removal.add_done_callback(lambda _: self._removals.pop(name))
        return removal

    async def _remove(self, version: Version) -> Failed | None:
        try:
            await self._engine.remove(version.ref, version.number)
        except AdapterRefused as error:
            log.warning("Adapter %r is forgotten, its memory is not free: %s", version.ref.engine_name, error)
            return Failed(error.code, error.public)
        log.info("Adapter %r is unloaded after %d calls.", version.ref.engine_name, version.served)
        return None

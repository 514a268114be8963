"""The gateway's way to the classifier: one prompt, one hop, one deadline; every way to fail has a name that is counted.

Owns which replica is asked, the time-out, the breaker, and the look at what came back. What is live comes from
`releases.py`; what follows from a reading is the policy's.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import msgspec

from models.clock import Clock
from models.embedders.text import readable
from models.ports import EndpointDirectory
from models.types import Endpoint
from router.manifest import PolicyName
from router.types import Candidate, NoReading, Reading
from serving.classifier.messages import (
    DRIFT,
    LOAD,
    MEDIA_TYPE,
    PATH,
    Ask,
    Example,
    Load,
    Refused,
    Score,
    Standing,
    Told,
)
from serving.engines.breaker import Breaker
from serving.engines.upstream import read_all
from serving.engines.wire import Pool, Reply
from serving.store.releases import ReleaseRow

NAME = "classifier"
"""Of the deployment, in the directory."""
LONGEST_BYTES = 2**20
CONNECT_S = 1.0
LOAD_S = 3.0
ADMINISTRATION_S = 2.0


class Live(Protocol):
    """What is live now."""

    @property
    def release(self) -> ReleaseRow | None:
        """The state that counts; None before the first release."""
        ...


@dataclass(slots=True)
class Peer:
    """One replica as this gateway knows it."""

    breaker: Breaker
    running: int = 0


@dataclass(slots=True)
class Outcome:
    """A look at the classifier, for whoever explains: the reading, and what stands around it."""

    reading: Reading | NoReading
    nearest: Sequence[Example] = ()


class Limits(NamedTuple):
    """The longest wait for a reading, and after how many failures in a row a replica is left alone for how long."""

    deadline_s: float
    failures: int = 5
    pause_s: float = 10.0


class ClassifierClient:
    """Reads prompts. One per gateway process; `async with` closes its connections."""

    def __init__(
        self,
        directory: EndpointDirectory,
        live: Live,
        *,
        token: str,
        policy: PolicyName,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._live = live
        self._policy = policy
        self._limits = limits
        self._clock = clock
        self._headers = {"authorization": f"Bearer {token}", "content-type": MEDIA_TYPE}
        self._pool = Pool(connect_s=CONNECT_S)
        self._peers: dict[str, Peer] = {}
        self._introduced: frozenset[str] = frozenset()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    async def read(self, text: str) -> Reading | NoReading:
        """What the classifier says of this prompt, within the deadline. Never raises but for being cancelled."""
        return (await self.look(text)).reading

    async def look(self, text: str, *, nearest: int | None = None) -> Outcome:
        """As `read`; with a number it is a question, not traffic, and so many of the nearest labelled prompts come."""
        if not text.strip():  # a prompt of token ids
            return Outcome(NoReading("declined", "the prompt holds no text"))
        release = self._live.release
        if release is None:
            return Outcome(NoReading("none", "no router model is promoted"))
        endpoint = self._best()
        if endpoint is None:
            return Outcome(NoReading("down", "no classifier answers"))
        ask = ask_of(text, release, policy=self._policy, within_s=self._limits.deadline_s, nearest=nearest)
        peer = self._peers[endpoint.replica]
        peer.running += 1
        probe = peer.breaker.enter()
        try:
            told = await self._asked(endpoint, ask)
        except asyncio.CancelledError:
            if probe:
                peer.breaker.abandoned()
            raise
        finally:
            peer.running -= 1
        outcome = outcome_of(told, release)
        if isinstance(told, NoReading) or _is_broken(outcome):
            peer.breaker.failed(self._clock.monotonic())
        else:
            peer.breaker.succeeded()
        return outcome

    async def load(self, version: str) -> None:
        """Have every replica load this version, as far as they do so in time: what they miss they load when asked."""
        await self._have(version, self._directory.endpoints(NAME))

    async def introduce(self) -> None:
        """Have the replicas that came since the last time load what is live, once: before prompts ask them for it."""
        release, endpoints = self._live.release, self._directory.endpoints(NAME)
        if release is None:
            return
        new = [endpoint for endpoint in endpoints if endpoint.replica not in self._introduced]
        self._introduced = frozenset(endpoint.replica for endpoint in endpoints)
        for version in filter(None, (release.version, release.shadow)):
            await self._have(version, new)

    async def _have(self, version: str, endpoints: Sequence[Endpoint]) -> None:
        await self._all(endpoints, LOAD, body=msgspec.msgpack.encode(Load(version)), within_s=LOAD_S)

    async def drift(self) -> list[dict[str, Standing]]:
        """By version, what every replica that answers has seen."""
        found = await self._all(self._directory.endpoints(NAME), DRIFT, body=b"", within_s=ADMINISTRATION_S)
        stands = []
        for body in found:
            with suppress(msgspec.DecodeError):  # a replica of another release, in a rolling change
                stands.append(msgspec.msgpack.decode(body, type=dict[str, Standing]))
        return stands

    async def _all(self, endpoints: Sequence[Endpoint], path: str, *, body: bytes, within_s: float) -> list[bytes]:
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(self._administer(endpoint, path, body=body, within_s=within_s))
                for endpoint in endpoints
            ]
        return [answer for task in asked if (answer := task.result()) is not None]

    async def _administer(self, endpoint: Endpoint, path: str, *, body: bytes, within_s: float) -> bytes | None:
        try:
            async with asyncio.timeout(within_s):
                reply = await self._pool.post(endpoint.base_url, path, headers=self._headers, body=body)
                found = await read_all(reply, LONGEST_BYTES)
        except OSError:  # a time-out is one
            return None
        return found if reply.status == 200 else None

    async def _asked(self, endpoint: Endpoint, ask: Ask) -> Told | Refused | NoReading:
        """What came, or which way it failed."""
        reply: Reply | None = None
        body = msgspec.msgpack.encode(ask)
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                reply = await self._pool.post(endpoint.base_url, PATH, headers=self._headers, body=body)
                body = await read_all(reply, LONGEST_BYTES)
        except TimeoutError:
            return NoReading("late", f"the classifier did not answer within {self._limits.deadline_s:g} s")
        except OSError as error:
            return NoReading("down", f"the classifier is gone: {type(error).__name__}")
        finally:
            if reply is not None:
                reply.close()
        try:
            if reply.status == 200:
                return msgspec.msgpack.decode(body, type=Told)
            return msgspec.msgpack.decode(body, type=Refused)
        except msgspec.DecodeError:
            return NoReading("invalid", f"the classifier answered {reply.status} with something else than a reading")

    def _best(self) -> Endpoint | None:
        """The replica with the fewest prompts of ours, of those whose breaker is closed or wants a probe."""
        endpoints, now = self._directory.endpoints(NAME), self._clock.monotonic()
        names = {endpoint.replica for endpoint in endpoints}
        if names != self._peers.keys():
            limits = self._limits
            self._peers = {
                name: self._peers.get(name) or Peer(Breaker(limits.failures, limits.pause_s)) for name in sorted(names)
            }
        open_to_us = [endpoint for endpoint in endpoints if self._peers[endpoint.replica].breaker.admits(now)]
        return min(open_to_us, key=lambda endpoint: self._peers[endpoint.replica].running, default=None)


def ask_of(text: str, release: ReleaseRow, *, policy: PolicyName, within_s: float, nearest: int | None) -> Ask:
    """What a classifier is asked about a prompt: all that the embedder and the surface numbers look at of it."""
    return Ask(
        text=readable(text),
        version=release.version,
        policy=policy,
        within_s=within_s,
        shadow=release.shadow,
        nearest=nearest or 0,
        counts=nearest is None,
    )


def outcome_of(told: Told | Refused | NoReading, release: ReleaseRow) -> Outcome:
    """What follows from an answer. NaN compares false with everything, and would go to the small tier unseen."""
    if isinstance(told, NoReading):
        return Outcome(told)
    if isinstance(told, Refused):
        return Outcome(NoReading(told.cause, told.reason))
    if not _is_finite(told.score):
        return Outcome(NoReading("nan", "a score is no number"))
    return Outcome(_reading(told, release), told.nearest)


def _is_finite(score: Score) -> bool:
    return all(map(math.isfinite, (score.small, score.large, score.gain, score.error, score.distance)))


def _is_broken(outcome: Outcome) -> bool:
    """Whether the replica, and not its load or the version, is to blame."""
    return isinstance(outcome.reading, NoReading) and outcome.reading.cause in ("nan", "broken")


def _reading(told: Told, release: ReleaseRow) -> Reading:
    score = told.score
    return Reading(
        version=release.version,
        threshold=release.threshold,
        gain=score.gain,
        small=score.small,
        large=score.large,
        error=score.error,
        distance=score.distance,
        objection=told.doubt,
        task=told.task,
        retrieval=told.retrieval,
        sentence=told.sentence,
        shadow=_candidate(told.shadow, release),
    )


def _candidate(score: Score | None, release: ReleaseRow) -> Candidate | None:
    """What the shadow said; one that is no number is none, and no reason to leave the live score alone."""
    if score is None or release.shadow is None or release.shadow_threshold is None or not _is_finite(score):
        return None
    return Candidate(release.shadow, score.gain, release.shadow_threshold)

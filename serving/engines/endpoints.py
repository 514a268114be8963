"""Which replica gets the next request of this gateway: in-flight counts, latency, suspects, breakers, and for an
adapter the replica that is most likely to have it in a slot.

Owns the choice and the slots. Does not know HTTP, and does not cap: the replica's own door does, for all gateways.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from types import TracebackType

import structlog

from models.clock import Clock, SystemClock
from models.ports import EndpointDirectory
from models.types import Endpoint
from serving.engines.breaker import Breaker

FLOOR_S = 0.001
NEWEST_WEIGHT = 0.3
SLACK = 1.25
ROOM = 8
"""Calls of adapters that a replica takes whatever the others have: its engine answers so few in one batch."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Latency:
    """A moving average in seconds that fades, so that a replica that was slow is tried again some time."""

    half_life_s: float
    _value: float = 0.0
    _at: float = 0.0

    def observe(self, seconds: float, now: float) -> None:
        """Add one sample; the first one counts whole."""
        self._value = seconds if self._at == 0.0 else self._value + NEWEST_WEIGHT * (seconds - self._value)
        self._at = now

    @property
    def known(self) -> bool:
        """Whether there was a sample yet."""
        return self._at > 0.0

    def value(self, now: float) -> float:
        """The average, halved for every half-life without a sample; never below the floor."""
        faded: float = self._value * 2.0 ** ((self._at - now) / self.half_life_s)
        return max(FLOOR_S, faded)


@dataclass(slots=True)
class ReplicaState:
    """What this gateway knows of one replica."""

    breaker: Breaker
    to_first_event: Latency
    to_whole_body: Latency
    in_flight: int = 0
    suspect_until: float = 0.0

    def latency(self, *, streamed: bool) -> Latency:
        """Of answers of this kind."""
        return self.to_first_event if streamed else self.to_whole_body


@dataclass(slots=True)
class Slot:
    """One request's place at one replica: tell it how the request went, give it back once."""

    endpoint: Endpoint
    _state: ReplicaState
    _clock: Clock
    _suspect_s: float
    _streamed: bool
    _held: bool = field(default=False, init=False)
    _probe: bool = field(default=False, init=False)

    def __enter__(self) -> Slot:
        self._held = True
        self._state.in_flight += 1
        self._probe = self._state.breaker.enter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._held:
            self._held = False
            self._state.in_flight -= 1
            if self._probe:
                self._state.breaker.abandoned()

    def alive(self, latency_s: float) -> None:
        """The first event, or the whole body, came after so many seconds."""
        self._state.latency(streamed=self._streamed).observe(latency_s, self._clock.monotonic())
        if self._probe:
            self._probe = False
            self._state.breaker.alive()

    def succeeded(self) -> None:
        """The answer was complete."""
        self._state.breaker.succeeded()

    def suspect(self) -> None:
        """The replica does not take requests just now: try it last for a while."""
        self._state.suspect_until = self._clock.monotonic() + self._suspect_s

    def failed(self, reason: str) -> None:
        """The replica failed: suspect, and one step nearer to an open breaker."""
        self.suspect()
        breaker = self._state.breaker
        if breaker.failed(self._clock.monotonic()):
            endpoint = self.endpoint
            log.warning(
                "breaker_opened",
                card=endpoint.card,
                replica=endpoint.replica,
                reason=reason,
                failures=breaker.failures,
                pause_s=breaker.pause_s,
            )


def waits(states: Sequence[ReplicaState], now: float, *, streamed: bool) -> list[float]:
    """The wait to expect of each: in-flight requests times recent latency in seconds (peak EWMA, as in Twitter's
    Finagle). A new replica counts as its peers, or it would get every request until its first answer.
    """
    latencies = [state.latency(streamed=streamed) for state in states]
    known = [latency.value(now) for latency in latencies if latency.known]
    peers = fmean(known) if known else FLOOR_S
    return [
        (state.in_flight + 1) * (latency.value(now) if latency.known else peers)
        for state, latency in zip(states, latencies, strict=True)
    ]


def home(adapter: str, pool: Sequence[Endpoint], *, in_flight: Sequence[int]) -> Endpoint:
    """The replica for calls of an adapter version: the same one for every gateway, with nothing to agree on.

    Each version ranks the replicas by a hash (rendezvous hashing, Thaler and Ravishankar 1998), and takes the first one
    that has less than `ROOM` requests, or no more than `SLACK` times its share (bounded loads, Mirrokni et al. 2018).
    When a replica comes or goes, only its own versions move.
    """
    limit = max(ROOM, math.ceil(SLACK * (sum(in_flight) + 1) / len(pool)))
    ranked = sorted(zip(pool, in_flight, strict=True), key=lambda one: _weight(adapter, one[0].replica), reverse=True)
    return next((endpoint for endpoint, running in ranked if running < limit), ranked[0][0])


def _weight(adapter: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{adapter} {replica}".encode(), digest_size=8).digest()


class ReplicaPicker:
    """Power of two choices over the replicas that the directory knows now."""

    def __init__(
        self,
        directory: EndpointDirectory,
        *,
        breaker_failures: int = 5,
        suspect_s: float = 10.0,
        affinity: bool = True,
        clock: Clock | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """`affinity`: whether calls of an adapter version go to that version's own replica."""
        self._directory = directory
        self._affinity = affinity
        self._breaker_failures = breaker_failures
        self._suspect_s = suspect_s
        self._clock = clock or SystemClock()
        self._chance = chance or random.Random()
        self._states: dict[str, dict[str, ReplicaState]] = {}

    def take(
        self, card: str, *, streamed: bool, tried: Collection[str] = (), adapter: str | None = None
    ) -> Slot | None:
        """A slot, to be entered, at the best replica not yet tried; None when none is there or admits a request.

        `adapter`: what engines call the version that is to answer; such a call goes to that version's own replica while
        its load allows.
        """
        now = self._clock.monotonic()
        endpoints = self._directory.endpoints(card)
        states = self._known(card, endpoints)
        open_to_us = [e for e in endpoints if e.replica not in tried and states[e.replica].breaker.admits(now)]
        if not open_to_us:
            return None
        trusted = [e for e in open_to_us if states[e.replica].suspect_until <= now]
        pool = trusted or open_to_us
        if len(pool) == 1:
            best = pool[0]
        elif adapter is not None and self._affinity:
            best = home(adapter, pool, in_flight=[states[e.replica].in_flight for e in pool])
        else:
            best = self._better(pool, states, streamed=streamed, now=now)
        return Slot(best, states[best.replica], self._clock, self._suspect_s, streamed)

    def _better(
        self, pool: Sequence[Endpoint], states: Mapping[str, ReplicaState], *, streamed: bool, now: float
    ) -> Endpoint:
        pair = pool if len(pool) == 2 else self._chance.sample(pool, 2)
        costs = waits([states[e.replica] for e in pair], now, streamed=streamed)
        return min(zip(pair, costs, strict=True), key=lambda one: (one[1], self._chance.random()))[0]

    def states(self) -> dict[str, dict[str, ReplicaState]]:
        """Card → replica → what is known of it: for metrics and for people."""
        return {card: dict(replicas) for card, replicas in self._states.items()}

    @property
    def in_flight(self) -> int:
        """Requests of this gateway at all replicas."""
        return sum(state.in_flight for replicas in self._states.values() for state in replicas.values())

    def _known(self, card: str, endpoints: Collection[Endpoint]) -> dict[str, ReplicaState]:
        states = self._states.setdefault(card, {})
        names = {endpoint.replica for endpoint in endpoints}
        if states.keys() != names:
            for gone in [name for name, state in states.items() if name not in names and not state.in_flight]:
                del states[gone]
            for new in names - states.keys():
                states[new] = self._fresh()
        return states

    def _fresh(self) -> ReplicaState:
        return ReplicaState(
            Breaker(self._breaker_failures, self._suspect_s), Latency(self._suspect_s), Latency(self._suspect_s)
        )

"""The composition root of a gateway: the only file that names the concrete parts and puts them together.

Everything is opened here in order and closed in reverse: the last record is written before the store closes. Knows
nothing of Ray; `deploy/gateway.py` opens it inside a replica, tests and benchmarks open it inside a plain server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import aiohttp
from starlette.types import ASGIApp

from models.catalog import ModelCard
from models.clock import Clock, SystemClock
from models.ports import EndpointDirectory
from models.types import Endpoint
from router.policies import build_policy, classifier_of, scoring_of
from router.router import Router
from serving.api.deps import ApiDependencies
from serving.api.routes import build_api
from serving.classifier.client import NAME as CLASSIFIER
from serving.classifier.client import ClassifierClient, Limits
from serving.classifier.explainer import Explainer
from serving.classifier.releases import REFRESH_S, ReleaseBook
from serving.engines.attempts import EngineClient
from serving.engines.endpoints import ReplicaPicker
from serving.engines.upstream import Upstream
from serving.fleet import ServedFleet
from serving.periodic import Periodic
from serving.pipeline.pipeline import Pipeline
from serving.pipeline.sessions import Sessions
from serving.settings import Settings
from serving.store.store import Store
from serving.telemetry.exposition import Engines, Exposition
from serving.telemetry.log import configure_log
from serving.telemetry.metrics import Metrics
from serving.telemetry.recorder import Recorder
from serving.telemetry.retention import Retention
from serving.telemetry.spool import Spool
from serving.tenancy.concurrency import KeyConcurrency
from serving.tenancy.keys import KeyAdmin, KeyBook

Fetch = Callable[[Endpoint], Awaitable[str]]


@dataclass(frozen=True)
class GatewayParts:
    """What a gateway is made from. `replica` names this process in the metrics; `spool` is a folder of its own.

    `gateways` tells how many gateway processes serve now.
    """

    settings: Settings
    cards: Mapping[str, ModelCard]
    directory: EndpointDirectory
    engine_token: str
    salt_key: str
    store_url: str
    spool: str
    replica: str = "gateway"
    gateways: Callable[[], int] = lambda: 1
    clock: Clock = field(default_factory=SystemClock)


@asynccontextmanager
async def open_gateway(parts: GatewayParts) -> AsyncIterator[ASGIApp]:
    """The gateway as an ASGI app, while the block is open."""
    configure_log()
    settings, clock = parts.settings, parts.clock
    async with AsyncExitStack() as opened:
        fleet = ServedFleet(parts.cards, settings.tiers, directory=parts.directory, since=clock.now())
        metrics = Metrics(frozenset(parts.cards) | {"auto"})
        store = await opened.enter_async_context(Store.open(parts.store_url))
        spool = Spool(Path(parts.spool))
        recorder = await opened.enter_async_context(
            Recorder(store, spool, metrics=metrics, clock=clock, flush_interval_s=settings.store.flush_interval_s)
        )
        retention = Retention(store.records, days=settings.store.retention_days, clock=clock)
        await opened.enter_async_context(retention.open())
        keys = await opened.enter_async_context(KeyBook(store.keys, clock=clock).open())
        engines = await opened.enter_async_context(_engines(parts))
        scraper = await opened.enter_async_context(_scraper(parts.engine_token))
        scraped = Engines(lambda: chain(fleet.endpoints(), parts.directory.endpoints(CLASSIFIER)), scraper)
        exposition = Exposition(metrics, store.gateways, gateway=parts.replica, engines=scraped, clock=clock)
        await opened.enter_async_context(exposition.open())
        policy = build_policy(settings.router)
        router = Router(policy, fleet.fleet(), default=settings.tiers.default)
        classifier = await opened.enter_async_context(_classifier(parts, store))
        named = classifier_of(settings.router)
        explainer = Explainer(
            router,
            policy,
            kind=settings.router.kind,
            name="" if named is None else named.name,
            store=store,
            classifier=classifier,
        )
        sessions = Sessions(
            store.records.tier_of_session, secret=parts.salt_key.encode(), clock=clock, gateways=parts.gateways
        )
        yield build_api(
            ApiDependencies(
                keys=keys,
                key_admin=KeyAdmin(store.keys, clock=clock),
                limiter=KeyConcurrency(gateways=parts.gateways),
                pipeline=Pipeline(router, engines, sessions=sessions, classifier=classifier, clock=clock),
                records=recorder,
                models=fleet,
                readiness=fleet,
                metrics=exposition,
                explainer=explainer,
                http=settings.http,
                timers=settings.timers,
                version=version("penstock"),
                clock=clock,
            )
        )


@asynccontextmanager
async def _classifier(parts: GatewayParts, store: Store) -> AsyncIterator[ClassifierClient | None]:
    """The way to the classifier, where the policy needs one; follows what is live."""
    named = classifier_of(parts.settings.router)
    if named is None:
        yield None
        return
    book = ReleaseBook(store.releases, name=named.name, policy=scoring_of(parts.settings.router))
    client = ClassifierClient(
        parts.directory,
        book,
        token=parts.engine_token,
        policy=scoring_of(parts.settings.router),
        limits=Limits(named.deadline_s),
        clock=parts.clock,
    )
    async with client, book.open(client.load), Periodic(client.introduce, every_s=REFRESH_S):
        yield client


def _engines(parts: GatewayParts) -> EngineClient:
    settings = parts.settings
    timers, gateway = settings.timers, settings.gateway
    upstream = Upstream(token=parts.engine_token, salt_secret=parts.salt_key.encode(), connect_s=timers.connect_s)
    picker = ReplicaPicker(
        parts.directory,
        breaker_failures=gateway.breaker_failures,
        suspect_s=timers.suspect_s,
        clock=parts.clock,
    )
    return EngineClient(upstream, picker, timers=timers, most_attempts=gateway.attempts, clock=parts.clock)


@asynccontextmanager
async def _scraper(token: str) -> AsyncIterator[Fetch]:
    """Reads a replica's own `/metrics` through its door."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:

        async def fetch(endpoint: Endpoint) -> str:
            async with session.get(f"{endpoint.base_url}/metrics") as response:
                response.raise_for_status()
                return await response.text()

        yield fetch

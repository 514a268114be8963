"""The composition root of a gateway: the only file that names the concrete parts and puts them together.

Everything is opened here in order and closed in reverse: the last record is written before the store closes. Knows
nothing of Ray; `deploy/gateway.py` opens it inside a replica, tests and benchmarks open it inside a plain server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import aiohttp
from starlette.types import ASGIApp

from models.adapters.foundation import BaseModel
from models.artifacts import ArtifactStoreSettings
from models.artifacts.store import ArtifactStore, open_artifacts
from models.catalog import ModelCard
from models.clock import Clock, SystemClock
from models.crash import CrashPoints
from models.ports import EndpointDirectory
from models.types import Endpoint
from router.policies import build_policy, classifier_of, scoring_of
from router.router import Router
from serving.adapters.book import AdapterBook
from serving.adapters.canary import CanaryJudge
from serving.adapters.desk import AdapterDesk
from serving.adapters.housekeeping import House, Housekeeping
from serving.adapters.in_hand import InHand
from serving.adapters.registry import AdapterRegistry, Surroundings
from serving.adapters.releases import Releases
from serving.adapters.replicas import open_replicas
from serving.adapters.terms import ReleaseTerms
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
from serving.tuning.asking import GatewayAsk
from serving.tuning.checked import checked
from serving.tuning.desk import TuningDesk
from serving.tuning.files import FileAround, FileDesk
from serving.tuning.jobs import JobDesk
from serving.tuning.jobs import Terms as JobTerms
from serving.tuning.open import Ground, TuningParts, open_tuning

Fetch = Callable[[Endpoint], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class AdapterParts:
    """What adapters need beyond the rest. `bases`: what they may be made for, by card; `artifacts_home`, `fetched` and
    `work`: folders for published versions, for fetched ones, and for drafts; `crash_at`: for tests alone.
    """

    artifacts: ArtifactStoreSettings
    artifacts_home: str
    fetched: str
    work: str
    bases: dict[str, BaseModel]
    crash_at: str | None = None


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
    adapters: AdapterParts | None = None
    tuning: TuningParts | None = None
    replica: str = "gateway"
    gateways: Callable[[], int] = lambda: 1
    clock: Clock = field(default_factory=SystemClock)


@asynccontextmanager
async def open_gateway(parts: GatewayParts) -> AsyncIterator[ASGIApp]:
    """The gateway as an ASGI app, while the block is open."""
    configure_log()
    settings, clock = parts.settings, parts.clock
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(Store.open(parts.store_url))
        adapters = await opened.enter_async_context(open_adapters(parts, store))
        book = None if adapters is None else adapters.book
        fleet = ServedFleet(parts.cards, settings.tiers, directory=parts.directory, since=clock.now(), adapters=book)
        metrics = Metrics(frozenset(parts.cards) | {"auto"})
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
        exposition = await opened.enter_async_context(_exposition(parts, store, metrics=metrics, engines=scraped))
        policy = build_policy(settings.router)
        router = Router(policy, fleet.fleet(), default=settings.tiers.default)
        classifier = await opened.enter_async_context(_classifier(parts, store))
        named = classifier_of(settings.router)
        explainer = Explainer(
            router,
            kind=settings.router.kind,
            name="" if named is None else named.name,
            store=store,
            classifier=classifier,
            adapters=book,
        )
        pipeline = Pipeline(
            router, engines, sessions=_sessions(parts, store), adapters=book, classifier=classifier, clock=clock
        )
        ask = GatewayAsk(pipeline, recorder, clock=clock)
        ground = _ground(parts, store, adapters=adapters)
        finish = await opened.enter_async_context(open_tuning(parts.tuning, ground, ask=ask))
        yield build_api(
            ApiDependencies(
                keys=keys,
                key_admin=KeyAdmin(store.keys, clock=clock),
                limiter=KeyConcurrency(gateways=parts.gateways),
                pipeline=pipeline,
                adapters=None if adapters is None else adapters.desk,
                tuning=None if adapters is None else TuningDesk(adapters.files, adapters.jobs, finish),
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


def _exposition(
    parts: GatewayParts, store: Store, *, metrics: Metrics, engines: Engines
) -> AbstractAsyncContextManager[Exposition]:
    gateway, clock = parts.replica, parts.clock
    return Exposition(
        metrics, store.gateways, gateway=gateway, engines=engines, clock=clock, jobs=store.jobs.counts
    ).open()


@dataclass(frozen=True, slots=True)
class OpenAdapters:
    """The faces of adapters in a gateway: for calls, for those who release, and for those who train them."""

    book: AdapterBook
    desk: AdapterDesk
    files: FileDesk
    jobs: JobDesk
    artifacts: ArtifactStore


@asynccontextmanager
async def open_adapters(parts: GatewayParts, store: Store) -> AsyncIterator[OpenAdapters | None]:
    """Everything of adapters, while the block is open; None where no engine loads any."""
    plan, settings, clock = parts.adapters, parts.settings, parts.clock
    if plan is None:
        yield None
        return
    crash, in_hand, work = CrashPoints(plan.crash_at), InHand(), _made(Path(plan.work))
    revisions = {card: base.revision for card, base in plan.bases.items()}
    artifacts = open_artifacts(plan.artifacts, home=Path(plan.artifacts_home))
    async with AsyncExitStack() as opened:
        replicas = await opened.enter_async_context(
            open_replicas(parts.directory, token=parts.engine_token, load_s=settings.adapters.load_s)
        )
        releases = Releases(
            store.adapters,
            store.views,
            replicas=replicas,
            revisions=revisions,
            terms=_terms(parts, in_hand, crash=crash),
            clock=clock,
        )
        around = Surroundings(
            bases=plan.bases,
            model_names=_model_names(parts),
            artifacts=artifacts,
            work=work,
            fetched=Path(plan.fetched),
            gateway=parts.replica,
            settings=settings.adapters,
            max_bytes=settings.http.max_upload_bytes,
            in_hand=in_hand,
            crash=crash,
        )
        registry = AdapterRegistry(store.adapters, around, clock=clock)
        book = _book(parts, store, revisions=revisions)
        await opened.enter_async_context(book.open())
        house = House(
            store.adapters,
            store.views,
            replicas,
            releases,
            artifacts,
            revisions=revisions,
            work=work,
            in_hand=in_hand,
            gateway=parts.replica,
            gone_s=settings.adapters.gone_s,
            clock=clock,
        )
        judge = CanaryJudge(store.adapters, store.records, releases=releases, clock=clock)
        files = _files(parts, store, artifacts=artifacts, work=work)
        desk = AdapterDesk(
            registry, releases, table=store.adapters, replicas=replicas, bases=tuple(plan.bases), work=work
        )
        sweeps = [files.sweep, desk.withdraw.sweep]
        await opened.enter_async_context(Housekeeping(house, judge=judge.look, sweeps=sweeps).open())
        jobs = _jobs(parts, store, bases=plan.bases)
        yield OpenAdapters(book, await opened.enter_async_context(desk), files, jobs, artifacts)


def _sessions(parts: GatewayParts, store: Store) -> Sessions:
    return Sessions(
        store.records.tier_of_session,
        secret=parts.salt_key.encode(),
        clock=parts.clock,
        gateways=parts.gateways,
        look_up_s=parts.settings.timers.conversation_s,
    )


def _ground(parts: GatewayParts, store: Store, *, adapters: OpenAdapters | None) -> Ground | None:
    """What fine-tuning stands on; nothing where no adapter can be served."""
    plan = parts.adapters
    if plan is None or adapters is None:
        return None
    return Ground(
        store,
        parts.store_url,
        adapters.artifacts,
        plan.artifacts,
        home=plan.artifacts_home,
        fetched=plan.fetched,
        bases=plan.bases,
        files=adapters.files,
        registry=adapters.desk.registry,
        releases=adapters.desk.releases,
        settings=parts.settings.fine_tuning,
        gateway=parts.replica,
        clock=parts.clock,
        crash_at=plan.crash_at,
    )


def _jobs(parts: GatewayParts, store: Store, *, bases: Mapping[str, BaseModel]) -> JobDesk:
    terms = JobTerms(bases, _model_names(parts), parts.settings.fine_tuning)
    return JobDesk(store.jobs, store.adapters, terms=terms, clock=parts.clock)


def _book(parts: GatewayParts, store: Store, *, revisions: Mapping[str, str]) -> AdapterBook:
    heartbeat_s = parts.settings.adapters.gone_s / 5
    return AdapterBook(
        store.adapters,
        store.views,
        revisions=revisions,
        gateway=parts.replica,
        heartbeat_s=heartbeat_s,
        clock=parts.clock,
    )


def _files(parts: GatewayParts, store: Store, *, artifacts: ArtifactStore, work: Path) -> FileDesk:
    limits = parts.settings.fine_tuning
    around = FileAround(
        artifacts, work, max_bytes=limits.max_file_bytes, org_max_bytes=limits.org_max_file_bytes, check=checked
    )
    return FileDesk(store.files, store.jobs, around=around, clock=parts.clock)


def _terms(parts: GatewayParts, in_hand: InHand, *, crash: CrashPoints) -> ReleaseTerms:
    settings = parts.settings.adapters
    return ReleaseTerms(
        gateway=parts.replica,
        warm_s=settings.warm_s,
        gone_s=settings.gone_s,
        model_names=_model_names(parts),
        in_hand=in_hand,
        crash=crash,
        gateways=parts.gateways,
    )


def _model_names(parts: GatewayParts) -> frozenset[str]:
    """Names that no adapter can have."""
    return frozenset({*parts.cards, "auto"})


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


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
        affinity=settings.adapters.affinity,
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

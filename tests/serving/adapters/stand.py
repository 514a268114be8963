"""Two gateways and two replicas around one database and one artifact store: everything of adapters but vLLM and Ray."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from models.adapters.foundation import BaseModel, base_of
from models.artifacts import ArtifactStoreSettings
from models.artifacts.folder import FolderSettings
from models.artifacts.store import ArtifactStore, open_artifacts
from models.catalog import Catalog, ModelStore
from models.clock import SystemClock
from models.crash import CrashPoints
from serving.adapters.in_hand import InHand
from serving.adapters.live import StoredLive
from serving.adapters.registry import Surroundings
from serving.app import AdapterParts, GatewayParts, open_gateway
from serving.engines.adapter_door import ADAPTER_HEADER, AdapterDoor
from serving.engines.adapter_files import StoredFiles
from serving.engines.adapters import AdapterShelf
from serving.engines.door import DoorSettings, EngineDoor
from serving.engines.fake_lora import FakeLora
from serving.periodic import ticks
from serving.settings import AdapterSettings, Settings, load_settings
from serving.store.store import Store
from serving.tenancy.keys import KeyAdmin, KeySpec
from serving.testing import FakeEngine, Script, StaticDirectory, serve
from tests.models.adapters import made

TOKEN = "engine-token"
CARDS = ("demo-small", "demo-large")
PROFILE = (
    "tiers: {small: demo-small, large: demo-large}\nengines: [{card: demo-small}, {card: demo-large}]\n"
    "router: {kind: threshold}\n"
)
SMALL = "demo-small"


def base(card: str = SMALL) -> BaseModel:
    """A demo tier as adapters see it."""
    found = Catalog.load(None).card(card)
    return base_of(found, ModelStore(None).resolve(found))


def adapter_zip(seed: int = 0, *, card: str = SMALL, **changes: Any) -> bytes:
    """A good adapter as a zip; another seed makes other weights. `changes`: of its configuration."""
    model = base(card)
    layers = tuple(range(model.architecture.num_layers))
    content = made.tensors(("q_proj", "v_proj"), base=model, layers=layers)
    noise = np.random.default_rng(seed)
    content = {
        name: (dtype, shape, noise.normal(0, 0.05, shape).astype("<f4").tobytes())
        for name, (dtype, shape, _) in content.items()
    }
    config = made.config(base_model_name_or_path=card, target_modules=["q_proj", "v_proj"], **changes)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("adapter_config.json", json.dumps(config))
        archive.writestr("adapter_model.safetensors", made.safetensors(content))
    return out.getvalue()


@dataclass
class Replica:
    """One replica of the small card: its engine's two fakes, and its address. `failing`: adapters that raise."""

    engine: FakeEngine
    lora: FakeLora
    shelf: AdapterShelf
    failing: set[str]
    url: str

    @property
    def models(self) -> list[str]:
        """What its calls asked for, in order."""
        return [seen.body["model"] for seen in self.engine.seen]


@dataclass
class Stand:
    """The stack. `keys`: by role or org; `urls`: of the gateways."""

    keys: dict[str, str]
    store: Store
    directory: StaticDirectory
    replicas: list[Replica] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, *, key: str = "engineer", gateway: int = 0, **options: Any
    ) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.keys[key]}", **options.pop("headers", {})}
        async with httpx2.AsyncClient(base_url=self.urls[gateway], headers=headers, timeout=30) as client:
            return await client.request(method, path, **options)

    async def push(self, seed: int = 0, name: str = "bot", *, key: str = "engineer", **query: str) -> httpx2.Response:
        query = {"base": SMALL, **query}
        headers = {"content-type": "application/zip"}
        path = f"/v1/adapters/{name}/versions"
        return await self.ask("POST", path, key=key, content=adapter_zip(seed), params=query, headers=headers)

    async def promote(self, version: int, name: str = "bot", *, key: str = "engineer", **more: Any) -> httpx2.Response:
        return await self.ask("POST", f"/v1/adapters/{name}/promote", key=key, json={"version": version, **more})

    async def chat(self, model: str = "bot", *, key: str = "user", gateway: int = 0, **headers: str) -> httpx2.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        return await self.ask("POST", "/v1/chat/completions", key=key, gateway=gateway, json=body, headers=headers)

    async def states(self, name: str = "bot", key: str = "engineer") -> dict[int, str]:
        """Version → state."""
        shown = (await self.ask("GET", f"/v1/adapters/{name}", key=key)).json()
        return {version["version"]: version["state"] for version in shown["versions"]}


def third_gateway(folder: Path, artifacts: ArtifactStore) -> Surroundings:
    """What a registry beside those of a stand's own gateways works with."""
    return Surroundings(
        bases={SMALL: base()},
        model_names=frozenset({SMALL}),
        artifacts=artifacts,
        work=folder,
        fetched=folder,
        gateway="third",
        settings=AdapterSettings(),
        max_bytes=2**30,
        in_hand=InHand(),
        crash=CrashPoints(None),
    )


async def until(so: Any, *, within_s: float = 10.0) -> None:
    """Wait until an async condition holds."""
    async with asyncio.timeout(within_s):
        async for _ in ticks(0.02):
            if await so():
                return


@asynccontextmanager
async def opened_stand(
    folder: Path,
    *,
    gateways: int = 2,
    replicas: int = 2,
    url: str | None = None,
    artifacts: ArtifactStoreSettings | None = None,
    **settings: Any,
) -> AsyncIterator[Stand]:
    """`artifacts`: another store than a folder; `settings`: of the section `adapters`, and `fine_tuning` of its own."""
    loaded = settings_of(folder, **settings)
    url = url or f"sqlite+aiosqlite:///{folder / 'penstock.db'}"
    artifacts = artifacts or FolderSettings(path=folder / "artifacts")
    async with AsyncExitStack() as opened:
        store = await opened.enter_async_context(Store.open(url))
        stand = Stand(await _keys(store), store, StaticDirectory({}))
        for at in range(replicas):
            stand.replicas.append(await opened.enter_async_context(opened_replica(folder, at, artifacts)))
        large = await opened.enter_async_context(serve(FakeEngine(Script(tokens=2), token=TOKEN)))
        stand.directory.base_urls = {SMALL: [replica.url for replica in stand.replicas], "demo-large": [large]}
        for at in range(gateways):
            parts = parts_of(folder, loaded, stand.directory, url=url, gateway=f"g{at}")
            assert parts.adapters is not None
            parts = replace(parts, adapters=replace(parts.adapters, artifacts=artifacts))
            stand.urls.append(await opened.enter_async_context(opened_gateway(parts)))
        yield stand


def settings_of(folder: Path, **adapters: Any) -> Settings:
    """`adapters`: of that section; `fine_tuning` among them: of that one."""
    tuning = adapters.pop("fine_tuning", {})
    (folder / "profile.yaml").write_text(PROFILE)
    return load_settings(str(folder / "profile.yaml"), {"adapters": {"warm_s": 30, **adapters}, "fine_tuning": tuning})


def parts_of(
    folder: Path, settings: Settings, directory: StaticDirectory, *, url: str, gateway: str, crash_at: str | None = None
) -> GatewayParts:
    """One gateway of a stand in this folder."""
    catalog = Catalog.load(None)
    adapters = AdapterParts(
        artifacts=FolderSettings(path=folder / "artifacts"),
        artifacts_home=str(folder / "artifacts"),
        fetched=str(folder / "fetched-gateway"),
        work=str(folder / "drafts"),
        bases={card: base(card) for card in CARDS},
        crash_at=crash_at,
    )
    return GatewayParts(
        settings,
        {card: catalog.card(card) for card in CARDS},
        directory,
        engine_token=TOKEN,
        salt_key="salt",
        store_url=url,
        spool=str(folder / f"spool-{gateway}"),
        adapters=adapters,
        replica=gateway,
    )


@asynccontextmanager
async def opened_gateway(parts: GatewayParts) -> AsyncIterator[str]:
    """The address of a gateway that serves while the block is open."""
    async with open_gateway(parts) as app, serve(app) as url:
        yield url


@asynccontextmanager
async def opened_replica(
    folder: Path, at: int, artifacts: ArtifactStoreSettings, *, live: StoredLive | None = None
) -> AsyncIterator[Replica]:
    """A replica of the small card; with `live` it loads first what the registry says."""
    engine, lora = FakeEngine(Script(tokens=2, word="word "), token=TOKEN), FakeLora()
    shelf = AdapterShelf(lora, StoredFiles(open_artifacts(artifacts, home=folder), folder / f"fetched{at}"))
    if live is not None:
        await shelf.fill(await live.read(SMALL))
    failing: set[str] = set()
    door = EngineDoor(
        failing_for(engine, failing), token=TOKEN, settings=DoorSettings(64, 64, 10.0), adapters=AdapterDoor(shelf)
    )
    async with serve(door) as url:
        yield Replica(engine, lora, shelf, failing, url)


def failing_for(engine: FakeEngine, names: set[str]) -> Any:
    """The engine's app, which raises for calls of these adapters."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        ref = next((value.decode() for name, value in scope["headers"] if name == ADAPTER_HEADER), "")
        if ref.partition(" ")[0] in names:
            raised = Script(fault="status", status=500)
            await FakeEngine(raised, token=TOKEN)(scope, receive, send)
        else:
            await engine(scope, receive, send)

    return app


async def _keys(store: Store) -> dict[str, str]:
    admin = KeyAdmin(store.keys, clock=SystemClock())
    keys = {"admin": await admin.create_first() or ""}
    for name, org, role in (
        ("engineer", "acme", "engineer"),
        ("user", "acme", "inference"),
        ("rival", "rival", "engineer"),
    ):
        _, keys[name] = await admin.create(KeySpec(org=org, user=name, role=role))  # type: ignore[arg-type]
    return keys


@contextmanager
def stand_in_thread(folder: Path, **settings: Any) -> Iterator[Stand]:
    """A stand in a thread, for tests whose own code blocks. Only its keys, addresses and fakes may be looked at."""
    started, stopping = threading.Event(), threading.Event()
    made: list[Stand] = []

    async def live() -> None:
        async with opened_stand(folder, gateways=1, **settings) as stand:
            made.append(stand)
            started.set()
            await asyncio.to_thread(stopping.wait)

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    try:
        assert started.wait(30)
        yield made[0]
    finally:
        stopping.set()
        thread.join(30)

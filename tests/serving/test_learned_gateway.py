"""A whole gateway with the learned policy, around a real classifier with a trained router and fake engines."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from models.catalog import Catalog
from models.clock import SystemClock
from models.embedders import Embedder
from router.model import RouterModel
from serving.app import GatewayParts, open_gateway
from serving.classifier.batches import Batches
from serving.classifier.client import NAME
from serving.classifier.door import ClassifierDoor
from serving.classifier.published import PublishedRouters
from serving.classifier.releases import Releases
from serving.classifier.scorer import Scorer
from serving.settings import load_settings
from serving.store.store import Store
from serving.tenancy.keys import KeyAdmin, KeySpec
from serving.testing import FakeEngine, Script, StaticDirectory, serve
from tests.serving.classifier.conftest import embedder, model, routers, versions  # noqa: F401

TOKEN = "engine-token"
CARDS = ("demo-small", "demo-large")
HARD = "If 12 apples cost 30, what do 7 cost?"
EASY = "Say hello to marina and the boats."
PROFILE = (
    "tiers: {small: demo-small, large: demo-large}\nengines: [{card: demo-small}, {card: demo-large}]\n"
    "router: {kind: learned, classifier: {deadline_s: 10, embedder: {kind: hashing}}}\n"
)


@dataclass
class Stand:
    """What the tests hold."""

    url: str
    keys: dict[str, str]
    database: Path
    directory: StaticDirectory
    releases: Releases
    versions: tuple[str, str]
    client: httpx2.AsyncClient = field(default_factory=lambda: httpx2.AsyncClient(trust_env=False))

    async def ask(self, path: str, body: Any = None, *, key: str = "admin", **headers: str) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.keys[key]}", **headers}
        method = "GET" if body is None else "POST"
        return await self.client.request(method, self.url + path, json=body, headers=headers)

    async def chat(self, text: str, *before: dict[str, str], **headers: str) -> httpx2.Response:
        messages = [*before, {"role": "user", "content": text}]
        answer = await self.ask("/v1/chat/completions", {"model": "auto", "messages": messages}, **headers)
        assert answer.status_code == 200, answer.text
        return answer

    async def record(self, answer: httpx2.Response) -> dict[str, Any]:
        for _ in range(200):
            with closing(sqlite3.connect(self.database)) as connection:
                connection.row_factory = sqlite3.Row
                found = connection.execute("SELECT * FROM records WHERE id = ?", (answer.headers["x-request-id"],))
                if rows := found.fetchall():
                    return dict(rows[0])
            await asyncio.sleep(0.02)
        raise AssertionError("no record")

    async def until(self, so: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(200):
            if await so():
                return
            await asyncio.sleep(0.05)
        raise AssertionError("never so")


@pytest.fixture
async def stand(
    tmp_path: Path,
    embedder: Embedder,  # noqa: F811
    routers: PublishedRouters,  # noqa: F811
    versions: tuple[str, str],  # noqa: F811
) -> AsyncIterator[Stand]:
    (tmp_path / "learned.yaml").write_text(PROFILE)
    settings, catalog = load_settings(str(tmp_path / "learned.yaml")), Catalog.load(None)
    database = tmp_path / "penstock.db"
    url = f"sqlite+aiosqlite:///{database}"
    engines = [FakeEngine(Script(tokens=2, word=f"{card} "), token=TOKEN) for card in CARDS]
    scorer = Scorer(embedder, None, find=routers.model)
    async with (
        Store.open(url) as store,
        serve(engines[0]) as small,
        serve(engines[1]) as large,
        Batches(scorer.read, most=8, queue=64) as readings,
        serve(ClassifierDoor(scorer, readings, token=TOKEN)) as classifier,
    ):
        admin = KeyAdmin(store.keys, clock=SystemClock())
        first = await admin.create_first()
        _, plain = await admin.create(KeySpec(org="acme", user="ada"))
        releases = Releases(
            store.releases,
            store.records.scores,
            name="default",
            policy="learned",
            find=routers.model,
            clock=SystemClock(),
        )
        await releases.promote(versions[0])
        directory = StaticDirectory({CARDS[0]: [small], CARDS[1]: [large], NAME: [classifier]})
        parts = GatewayParts(
            settings,
            {card: catalog.card(card) for card in CARDS},
            directory,
            engine_token=TOKEN,
            salt_key="salt",
            store_url=url,
            spool=str(tmp_path / "spool"),
        )
        async with open_gateway(parts) as app, serve(app) as address:
            made = Stand(address, {"admin": first or "", "plain": plain}, database, directory, releases, versions)
            async with made.client:
                yield made
    structlog.reset_defaults()


async def test_a_prompt_goes_where_the_trained_router_sends_it_and_the_record_says_why(
    stand: Stand,
    model: RouterModel,  # noqa: F811
) -> None:
    hard, easy = await stand.chat(HARD), await stand.chat(EASY)
    assert (hard.headers["x-penstock-tier"], easy.headers["x-penstock-tier"]) == ("large", "small")
    assert hard.headers["x-penstock-route"].startswith("learned:gain ")
    row = await stand.record(hard)
    assert (row["route_policy"], row["route_version"], row["routed_tier"]) == ("learned", stand.versions[0], "large")
    assert row["route_threshold"] == model.manifest.thresholds["learned"]
    assert row["route_score"] >= row["route_threshold"]
    assert row["session"]


async def test_a_named_model_or_tier_is_not_read(stand: Stand) -> None:
    body = {"model": "demo-large", "messages": [{"role": "user", "content": EASY}]}
    named = await stand.ask("/v1/chat/completions", body)
    asked = await stand.ask("/v1/chat/completions", {**body, "model": "auto", "penstock": {"tier": "large"}})
    for answer in (named, asked):
        row = await stand.record(answer)
        assert (row["route_version"], row["session"]) == (None, None)
        assert "classify" not in json.loads(row["stages_ms"])


async def test_a_conversation_that_has_reached_the_large_tier_stays_there(stand: Stand) -> None:
    assert (await stand.chat(HARD)).headers["x-penstock-tier"] == "large"
    history = ({"role": "user", "content": HARD}, {"role": "assistant", "content": "17.5"})
    follow = await stand.chat(EASY, *history)
    assert follow.headers["x-penstock-tier"] == "large"
    sessions = [await stand.chat(text, **{"x-penstock-session": "s"}) for text in (EASY, HARD, EASY)]
    assert [answer.headers["x-penstock-tier"] for answer in sessions] == ["small", "large", "large"]


async def test_a_release_is_live_within_moments_and_a_shadow_is_on_record(stand: Stand) -> None:
    await stand.releases.promote(stand.versions[1], threshold=2.0)

    async def moved() -> bool:
        row = await stand.record(await stand.chat(HARD))
        return (row["route_version"], row["routed_tier"]) == (stand.versions[1], "small")

    await stand.until(moved)
    await stand.releases.shadow(stand.versions[0])

    async def shadowed() -> bool:
        shadow = json.loads((await stand.record(await stand.chat(EASY)))["shadow"] or "null")
        return bool(shadow) and shadow["version"] == stand.versions[0]

    await stand.until(shadowed)


async def test_without_a_classifier_every_request_is_answered_by_the_default_tier_and_counted(stand: Stand) -> None:
    kept, stand.directory.base_urls[NAME] = stand.directory.base_urls[NAME], []
    for _ in range(3):
        answer = await stand.chat(EASY)
        assert (answer.headers["x-penstock-route"], answer.headers["x-penstock-tier"]) == ("default", "large")
    row = await stand.record(answer)
    assert (row["route_policy"], row["route_cause"], row["routed_tier"]) == ("default", "down", "large")
    figures = (await stand.ask("/metrics")).text
    assert 'cause="down"' in figures
    stand.directory.base_urls[NAME] = kept
    assert (await stand.chat(EASY)).headers["x-penstock-tier"] == "small"


async def test_what_is_promoted_but_not_there_leaves_the_default_tier(stand: Stand) -> None:
    lost = replace(await stand.releases.promote(stand.versions[0]), version="f" * 12)
    async with Store.open(f"sqlite+aiosqlite:///{stand.database}") as store:
        await store.releases.add(lost, after=lost.id)

    async def refused() -> bool:
        row = await stand.record(await stand.chat(EASY))
        return (row["route_cause"], row["routed_tier"]) == ("version", "large")

    await stand.until(refused)


async def test_an_explanation_and_the_status_come_over_http(
    stand: Stand,
    model: RouterModel,  # noqa: F811
) -> None:
    body = {"messages": [{"role": "user", "content": HARD}]}
    found = (await stand.ask("/v1/router/explain", body)).json()
    assert (found["route"]["policy"], found["attempts"][0]["tier"]) == ("learned", "large")
    assert found["reading"]["gain"] >= found["reading"]["threshold"]
    assert len(found["nearest"]) == 5
    assert (await stand.ask("/v1/router/explain", body, key="plain")).json()["nearest"] == []
    await stand.record(await stand.chat(HARD))
    status = (await stand.ask("/v1/router/status")).json()
    assert (status["live"]["version"], status["decisions"]["count"]) == (stand.versions[0], 1)
    assert status["model"] == model.manifest.about()
    assert status["drift"]["gain learned"]["verdict"] == "too few"

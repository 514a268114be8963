"""The whole gateway, put together by its composition root, around the shipped fake engine and a real database."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from models.catalog import Catalog
from models.clock import SystemClock
from serving.app import GatewayParts, open_gateway
from serving.settings import load_settings
from serving.store.store import Store
from serving.tenancy.keys import KeyAdmin, KeySpec
from serving.testing import FakeEngine, Script, StaticDirectory, serve

TOKEN = "engine-token"
CARDS = ("demo-small", "demo-large")


@dataclass
class Gateway:
    """A running gateway, its engines and what it wrote."""

    url: str
    engines: dict[str, FakeEngine]
    directory: StaticDirectory
    keys: dict[str, str]
    database: Path

    async def ask(self, path: str, *, key: str | None = "admin", body: Any = None) -> tuple[int, bytes, Any]:
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        method = "POST" if body is not None else "GET"
        async with aiohttp.ClientSession(headers=headers) as session:  # noqa: SIM117
            async with session.request(method, f"{self.url}{path}", json=body) as answer:
                return answer.status, await answer.read(), answer.headers

    async def rows(self) -> list[dict[str, Any]]:
        """The records, once their batch is written."""
        for _ in range(100):
            with closing(sqlite3.connect(self.database)) as connection:
                connection.row_factory = sqlite3.Row
                if found := [dict(row) for row in connection.execute("SELECT * FROM records")]:
                    return found
            await asyncio.sleep(0.02)
        return []


async def _keys(url: str) -> dict[str, str]:
    async with Store.open(url) as store:
        admin = KeyAdmin(store.keys, clock=SystemClock())
        first = await admin.create_first()
        assert first is not None
        _, narrow = await admin.create(KeySpec(org="acme", user="ada", models=("demo-small",)))
    return {"admin": first, "narrow": narrow}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    settings, catalog = load_settings("cpu-demo"), Catalog.load(None)
    engines = {card: FakeEngine(Script(tokens=3, word=f"{card} "), token=TOKEN) for card in CARDS}
    database = tmp_path / "penstock.db"
    url = f"sqlite+aiosqlite:///{database}"
    keys = await _keys(url)
    async with serve(engines[CARDS[0]]) as small, serve(engines[CARDS[1]]) as large:
        directory = StaticDirectory({CARDS[0]: [small], CARDS[1]: [large]})
        cards = {card: catalog.card(card) for card in CARDS}
        spool = str(tmp_path / "spool")
        parts = GatewayParts(
            settings, cards, directory, engine_token=TOKEN, salt_key="salt", store_url=url, spool=spool, replica="g1"
        )
        async with open_gateway(parts) as app, serve(app) as address:
            yield Gateway(address, engines, directory, keys, database)
    structlog.reset_defaults()


CHAT = {"model": "demo-large", "messages": [{"role": "user", "content": "hi"}]}


async def test_one_request_goes_all_the_way_and_leaves_its_row_and_its_figures(gateway: Gateway) -> None:
    status, body, headers = await gateway.ask("/v1/chat/completions", body=CHAT)
    answer = json.loads(body)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "demo-large " * 3)
    assert headers["x-penstock-tier"] == "large"
    (seen,) = gateway.engines["demo-large"].seen
    assert gateway.keys["admin"] not in json.dumps([seen.headers, seen.body])
    assert seen.body["cache_salt"]
    (row,) = await gateway.rows()
    assert row["id"] == headers["x-request-id"]
    assert (row["served_model"], row["status"], row["completion_tokens"]) == ("demo-large", 200, 3)
    _, figures, _ = await gateway.ask("/metrics")
    assert b'model="demo-large"' in figures
    assert b'gateway="g1"' in figures
    assert b"penstock_requests_total{" in figures


async def test_a_stream_goes_all_the_way_too(gateway: Gateway) -> None:
    status, body, _ = await gateway.ask("/v1/chat/completions", body={**CHAT, "model": "auto", "stream": True})
    assert status == 200
    assert body.endswith(b"data: [DONE]\n\n")
    assert body.count(b'"finish_reason":"stop"') == 1
    assert len(await gateway.rows()) == 1


async def test_readiness_names_the_engine_that_is_missing(gateway: Gateway) -> None:
    status, _, _ = await gateway.ask("/ready", key=None)
    assert status == 200
    gateway.directory.base_urls["demo-small"].clear()
    status, body, _ = await gateway.ask("/ready", key=None)
    assert status == 503
    assert b"engine demo-small" in body
    assert b"demo-large" not in body


@pytest.mark.parametrize(("key", "names"), [("admin", ["auto", *CARDS]), ("narrow", ["demo-small"])])
async def test_a_keys_model_list_filters_what_it_sees(gateway: Gateway, key: str, names: list[str]) -> None:
    _, body, _ = await gateway.ask("/v1/models", key=key)
    assert [model["id"] for model in json.loads(body)["data"]] == names


async def test_a_model_outside_the_keys_list_is_as_good_as_missing(gateway: Gateway) -> None:
    inside, _, _ = await gateway.ask("/v1/chat/completions", key="narrow", body={**CHAT, "model": "demo-small"})
    outside, body, _ = await gateway.ask("/v1/chat/completions", key="narrow", body=CHAT)
    assert (inside, outside, json.loads(body)["error"]["code"]) == (200, 404, "model_not_found")
    assert gateway.engines["demo-large"].seen == []

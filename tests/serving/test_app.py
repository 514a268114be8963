"""The whole gateway, put together by its composition root, around the shipped fake engine and a real database."""

import asyncio
import json
import socket
import sqlite3
import time
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
from tests.serving.api.fakes import error_in
from tests.serving.api.wire import post, until, wire
from tests.serving.conftest import ManualClock

TOKEN = "engine-token"
CARDS = ("demo-small", "demo-large")
PROFILE = (
    "tiers: {small: demo-small, large: demo-large}\nengines: [{card: demo-small}, {card: demo-large}]\n"
    "router: {kind: threshold}\n"
)


@dataclass
class Gateway:
    """A running gateway, its engines and what it wrote. `chunks`: the pieces of text it has begun to send."""

    engines: dict[str, FakeEngine]
    directory: StaticDirectory
    keys: dict[str, str]
    database: Path
    url: str = ""
    chunks: int = 0

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def counting(self, app: Any) -> Any:
        """The application, its pieces of text counted outside of it."""

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            async def counting_send(message: Any) -> None:
                self.chunks += message.get("body", b"").count(b'"delta":{"content":')
                await send(message)

            await app(scope, receive, counting_send)

        return counted

    async def ask(self, path: str, *, key: str | None = "admin", body: Any = None) -> tuple[int, bytes, Any]:
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        method = "POST" if body is not None else "GET"
        async with aiohttp.ClientSession(headers=headers) as session:  # noqa: SIM117
            async with session.request(method, f"{self.url}{path}", json=body) as answer:
                return answer.status, await answer.read(), answer.headers

    async def rows(self, number: int = 1) -> list[dict[str, Any]]:
        """The records, once so many are written."""
        given_up_at = time.monotonic() + 30
        while True:
            with closing(sqlite3.connect(self.database)) as connection:
                connection.row_factory = sqlite3.Row
                found = [dict(row) for row in connection.execute("SELECT * FROM records")]
            if len(found) >= number:
                return found
            assert time.monotonic() < given_up_at, f"{len(found)} of {number} records were written"
            await asyncio.sleep(0.02)


async def _keys(url: str) -> dict[str, str]:
    async with Store.open(url) as store:
        admin, past = KeyAdmin(store.keys, clock=SystemClock()), ManualClock(time.time() - 3600)
        first = await admin.create_first()
        assert first is not None
        _, narrow = await admin.create(KeySpec(org="acme", user="ada", models=("demo-small",)))
        _, one = await admin.create(
            KeySpec(org="kept", user="eve", concurrency=1, expires_at=time.time() + 60, keep_text=True)
        )
        _, expired = await KeyAdmin(store.keys, clock=past).create(
            KeySpec(org="acme", user="bob", expires_at=past.at + 60)
        )
    return {"admin": first, "narrow": narrow, "one": one, "expired": expired}


@pytest.fixture
async def gateway(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    """Timers beside the profile's own come as the fixture's parameter."""
    (tmp_path / "rules.yaml").write_text(PROFILE)
    settings = load_settings(str(tmp_path / "rules.yaml"), {"timers": getattr(request, "param", {})})
    catalog = Catalog.load(None)
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
        gateway = Gateway(engines, directory, keys, database)
        async with open_gateway(parts) as app, serve(gateway.counting(app)) as gateway.url:
            yield gateway
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


SMALL = {"model": "demo-small", "messages": CHAT["messages"]}
STREAM = {**SMALL, "stream": True}


@pytest.mark.parametrize("gateway", [{"write_stall_s": 1}], indirect=True)
async def test_r8_a_client_that_never_reads_is_closed_and_pays_for_the_chunks_that_were_taken(gateway: Gateway) -> None:
    engine = gateway.engines["demo-small"]
    engine.script = Script(tokens=10_000, tpot_s=0.001, word="x" * 2**16)
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(post(STREAM, key=gateway.keys["one"]))
        await until(lambda: gateway.chunks > 10)
        assert (await gateway.ask("/v1/chat/completions", key="one", body=SMALL))[0] == 429
        await asyncio.wait_for(engine.idle.wait(), 30)
        stalled, refused = sorted(await gateway.rows(2), key=lambda row: -row["status"])
    assert (stalled["status"], stalled["client_gone"], refused["status"]) == (499, True, 429)
    assert (stalled["completion_tokens"], stalled["tokens_estimated"]) == (gateway.chunks, True)
    (seen,) = engine.aborted
    assert gateway.chunks <= seen.chunks < 10_000
    engine.script = Script(tokens=1)
    assert (await gateway.ask("/v1/chat/completions", key="one", body=SMALL))[0] == 200
    assert b'penstock_inflight_requests{gateway="g1"} 0.0' in (await gateway.ask("/metrics"))[1]


SLOW = Script(ttft_s=5)
LEAVINGS: dict[str, tuple[dict[str, Any], int, dict[str, Script]]] = {
    "after-3-of-20-chunks": (STREAM, 3, {"demo-small": Script(tokens=20, tpot_s=0.1)}),
    "before-the-first-chunk": (STREAM, 0, {"demo-small": SLOW}),
    "not-streamed": (SMALL, 0, {"demo-small": SLOW}),
    "with-a-retry-pending": (
        {**STREAM, "model": "auto"},
        0,
        {"demo-small": Script(fault="status"), "demo-large": SLOW},
    ),
}


@pytest.mark.parametrize("row", LEAVINGS)
async def test_r7_an_engine_sees_within_a_quarter_of_a_second_that_its_client_left(gateway: Gateway, row: str) -> None:
    """In the best of three calls, as the machine may hold up one; and in each before its answer would be over."""
    body, read, scripts = LEAVINGS[row]
    for card, script in scripts.items():
        gateway.engines[card].script = script
    engine = gateway.engines[list(scripts)[-1]]
    behind = [await leave(gateway, engine, body, read=read) for _ in range(3)]
    assert min(seconds for seconds, _ in behind) < 0.25
    assert min(chunks for _, chunks in behind) <= 1
    for call, seen in zip(await gateway.rows(3), engine.aborted, strict=True):
        assert (call["status"], call["client_gone"], call["error_code"]) == (499, True, None)
        assert json.loads(call["attempts"])[-1]["outcome"] == "client_gone"
        assert read <= call["completion_tokens"] <= seen.chunks < 20
        assert len(json.loads(call["attempts"])) == len(scripts)


async def leave(gateway: Gateway, engine: FakeEngine, body: dict[str, Any], *, read: int) -> tuple[float, int]:
    """Go after so many chunks: the seconds until the engine saw it, and the chunks that it produced meanwhile."""
    async with wire(gateway.port) as client:
        await client.send(post(body, key=gateway.keys["admin"]))
        await until(lambda: engine.running)
        for _ in range(read):
            await client.reader.readuntil(b'"delta":{"content":')
        produced, left = engine.seen[-1].chunks, time.monotonic()
        client.writer.close()
        await asyncio.wait_for(engine.idle.wait(), 30)
    seen = engine.aborted[-1]
    assert seen is engine.seen[-1]
    return (seen.aborted_at or 0) - left, seen.chunks - produced


async def test_a12_an_expired_key_is_no_key_and_one_that_will_expire_is_good(gateway: Gateway) -> None:
    status, body, headers = await gateway.ask("/v1/models", key="expired")
    assert (status, error_in(body, 401)["code"]) == (401, "invalid_api_key")
    assert headers["www-authenticate"] == "Bearer"
    assert (await gateway.ask("/v1/models", key="one"))[0] == 200


async def test_p29_a_huge_echo_that_the_engine_refuses_is_the_callers_error_and_tried_once(gateway: Gateway) -> None:
    refusal = {"message": "This model's maximum context length is 512 tokens.", "type": "BadRequestError", "code": 400}
    engine = gateway.engines["demo-small"]
    engine.script = Script(fault="status", status=400, error={"error": refusal})
    prompt = {"prompt": "word " * 100_000, "echo": True, "max_tokens": 0, "logprobs": 5}
    status, body, _ = await gateway.ask("/v1/completions", body={"model": "auto", **prompt})
    error = error_in(body, 400)
    assert (status, error["code"], error["param"]) == (400, "context_length_exceeded", "prompt")
    assert [seen.body["prompt"] for seen in engine.seen] == [prompt["prompt"]]
    assert gateway.engines["demo-large"].seen == []
    assert [(row["status"], row["error_code"]) for row in await gateway.rows()] == [(400, "context_length_exceeded")]


async def series(gateway: Gateway) -> set[str]:
    """Every figure of the gateway, without its value."""
    figures = (await gateway.ask("/metrics"))[1].decode()
    return {line.rpartition(" ")[0] for line in figures.splitlines() if not line.startswith("#")}


async def test_m14_a_thousand_unknown_names_add_no_series(gateway: Gateway) -> None:
    assert (await gateway.ask("/v1/chat/completions", body={**SMALL, "model": "name"}))[0] == 404
    before = await series(gateway)
    async with wire(gateway.port) as client:
        for number in range(1000):
            await client.send(post({**SMALL, "model": f"name-{number}"}, key=gateway.keys["admin"]))
            assert (await client.answer())[0] == 404
    assert len(await gateway.rows(1001)) == 1001
    assert await series(gateway) == before


def cut(*escapes: str) -> list[bytes]:
    """The stream of an engine that cuts its text inside a character, half a surrogate pair on each side."""
    choices = [f'{{"index":0,"delta":{{"content":"{text}"}}}}' for text in escapes]
    choices.append('{"index":0,"delta":{},"finish_reason":"stop"}')
    return [*(f'data: {{"choices":[{one}]}}\n\n'.encode() for one in choices), b"data: [DONE]\n\n"]


async def test_c25_a_character_cut_in_two_reaches_the_client_and_the_record_whole(gateway: Gateway) -> None:
    async def engine(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in cut("a\\ud83d", "\\ude00\u2028"):
            await send({"type": "http.response.body", "body": part, "more_body": b"DONE" not in part})

    async with serve(engine) as url:
        gateway.directory.base_urls["demo-small"] = [url]
        status, body, _ = await gateway.ask("/v1/chat/completions", key="one", body=STREAM)
    *frames, done = body.rstrip().split(b"\n\n")
    halves = [json.loads(frame[6:])["choices"][0]["delta"].get("content", "") for frame in frames]
    assert (status, halves, done) == (200, ["a\ud83d", "\ude00\u2028", ""], b"data: [DONE]")
    (row,) = await gateway.rows()
    assert (row["status"], row["error_code"], row["answer_text"]) == (200, None, "a\U0001f600\u2028")

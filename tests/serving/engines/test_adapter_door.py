"""Adapters at a replica's door: the routes, and calls that name one. Fake engine, real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from models.adapters.names import AdapterRef
from serving.engines.adapter_door import ADAPTER, AdapterDoor
from serving.engines.adapter_status import AdapterFigures
from serving.engines.adapters import AdapterShelf
from serving.engines.asgi import AsgiApp
from serving.engines.door import DoorSettings, EngineDoor
from serving.engines.fake_lora import FakeFiles, FakeLora, made_ref
from serving.testing import FakeEngine, Script, serve

TOKEN = "door-token"
CHAT = "/v1/chat/completions"
A, B = made_ref("a"), made_ref("b")
BODY = {"model": A.engine_name, "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class House:
    """A door with everything behind it, and a client before it."""

    door: EngineDoor
    shelf: AdapterShelf
    lora: FakeLora
    engine: FakeEngine
    client: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON."""
        async with self.client.request(method, path, **options) as response:
            return response.status, await response.json(content_type=None)

    async def call(self, ref: AdapterRef = A, **headers: str) -> tuple[int, str | None]:
        """A generation with this adapter: status, and the code of an error."""
        status, body = await self.ask("POST", CHAT, json=BODY, headers={ADAPTER: ref.header, **headers})
        return status, body.get("error", {}).get("code")


Open = Callable[..., Any]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    @asynccontextmanager
    async def open_(
        *, running: int = 2, queued: int = 2, timeout_s: float = 5.0, enabled: bool = True
    ) -> AsyncIterator[House]:
        lora, engine = FakeLora(), FakeEngine(Script(tokens=1))
        shelf = AdapterShelf(lora, FakeFiles(tmp_path))
        app: AsgiApp = AdapterFigures(engine, shelf) if enabled else engine
        settings = DoorSettings(running, queued, timeout_s)
        door = EngineDoor(app, token=TOKEN, settings=settings, adapters=AdapterDoor(shelf if enabled else None))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with serve(door) as url, aiohttp.ClientSession(url, headers=headers) as client:
            yield House(door, shelf, lora, engine, client)

    return open_


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come to that within two seconds")


def wanted(ref: AdapterRef, **changes: Any) -> dict[str, Any]:
    return {"engine_name": ref.engine_name, "artifact": ref.artifact, "digest": ref.digest, **changes}


async def test_a_version_is_loaded_listed_and_unloaded_over_http(opened: Open) -> None:
    async with opened() as house:
        status, told = await house.ask("PUT", "/adapters", json=wanted(A))
        assert (status, sorted(told)) == (200, ["engine_name", "fetched_ms", "loaded_ms", "warmed_ms"])
        assert await house.ask("PUT", "/adapters", json=wanted(A)) == (200, told)
        status, listed = await house.ask("GET", "/adapters")
        [row] = listed["adapters"]
        assert (status, row["engine_name"], row["state"], row["slot"], row["in_host_memory"]) == (
            *(200, A.engine_name, "ready"),
            *(0, True),
        )
        gone = f"/adapters/{A.engine_name}"
        assert await house.ask("DELETE", gone) == (200, {"engine_name": A.engine_name, "unloaded": True})
        assert (await house.ask("DELETE", gone))[0] == 404
        assert house.lora.names == {}


@pytest.mark.parametrize("token", [None, "Bearer wrong"])
async def test_adapters_are_for_those_with_the_token(opened: Open, token: str | None) -> None:
    async with opened() as house:
        headers = {"Authorization": token or ""}
        for method, path in (("PUT", "/adapters"), ("GET", "/adapters"), ("DELETE", f"/adapters/{A.engine_name}")):
            assert (await house.ask(method, path, json=wanted(A), headers=headers))[0] == 401
        assert house.lora.added == []


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{", b"\xff", b"[" * 2000, b'{"engine_name": 3}'),
        wanted(A, digest="0" * 63),
        wanted(A, digest="1" * 64),
        wanted(A, artifact="../x"),
        wanted(A, path="/etc"),
        {"engine_name": A.engine_name},
        b" " * 5000,
    ],
)
async def test_a_body_that_names_no_version_is_refused(opened: Open, body: Any) -> None:
    async with opened() as house:
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        status, told = await house.ask("PUT", "/adapters", **sent)
        assert (status, told["error"]["code"]) == (400, "invalid_adapter")
        assert house.lora.added == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/adapters"),
        ("PUT", "/adapters/x"),
        ("DELETE", "/adapters"),
        ("GET", "/adapters/a/b"),
        ("GET", "/adaptersx"),
    ],
)
async def test_other_routes_under_adapters_are_unknown(opened: Open, method: str, path: str) -> None:
    async with opened() as house:
        status, told = await house.ask(method, path)
        assert (status, told["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("wait_s", ["soon", "-1", "nan", "1e9"])
async def test_a_wait_that_is_none_is_refused(opened: Open, wait_s: str) -> None:
    async with opened() as house:
        status, told = await house.ask("DELETE", f"/adapters/{A.engine_name}", params={"wait_s": wait_s})
        assert (status, told["error"]["code"]) == (400, "invalid_value")


async def test_a_load_that_fails_is_an_answer_and_stands_in_the_list(opened: Open) -> None:
    async with opened() as house:
        house.lora.refuses[A.engine_name] = "LoRA rank 64 is greater than max_lora_rank 16."
        status, told = await house.ask("PUT", "/adapters", json=wanted(A))
        assert (status, told["error"]["code"]) == (503, "adapter_failed")
        assert "rank 64 is greater" in told["error"]["message"]
        [row] = (await house.ask("GET", "/adapters"))[1]["adapters"]
        assert (row["state"], row["last_error"]["code"], row["slot"]) == ("failed", "adapter_failed", None)


async def test_a_call_brings_its_version_and_is_counted(opened: Open) -> None:
    async with opened() as house:
        assert [await house.call(ref) for ref in (A, A, B)] == [(200, None)] * 3
        assert house.lora.added == [A.engine_name, B.engine_name]
        await until(lambda: house.door.running == 0)
        assert [(version.served, version.running) for version in house.shelf.versions] == [(2, 0), (1, 0)]
        assert (await house.ask("GET", "/adapters"))[1]["totals"] == {
            **{"slots": 2, "slots_used": 2, "host": 2, "max_host": 4},
            **{"activations": 2, "disk_loads": 2, "requests": 3},
        }


async def test_a_call_without_the_header_is_one_of_the_base_model(opened: Open) -> None:
    async with opened() as house:
        assert (await house.ask("POST", CHAT, json=BODY))[0] == 200
        assert (house.lora.added, house.shelf.requests) == ([], 0)


@pytest.mark.parametrize("sent", ["a", A.engine_name, f"{A.engine_name} {A.artifact} {B.digest[1:]}", "é é é", "  "])
async def test_a_call_with_a_header_that_names_none_is_refused(opened: Open, sent: str) -> None:
    async with opened() as house:
        status, told = await house.ask("POST", CHAT, json=BODY, headers={ADAPTER: sent})
        assert (status, told["error"]["code"]) == (400, "invalid_adapter")
        assert house.engine.seen == []


async def test_a_call_whose_version_cannot_be_had_is_told_why(opened: Open) -> None:
    async with opened() as house:
        house.lora.cold[A.engine_name] = "no answer"
        assert await house.call() == (503, "adapter_failed")
        assert house.engine.seen == []
        assert await house.call(B) == (200, None)


async def test_calls_that_wait_for_a_load_take_no_slot_from_others(opened: Open) -> None:
    async with opened(running=1, queued=2) as house:
        house.lora.gate.clear()
        waiting = asyncio.ensure_future(house.call())
        await until(lambda: house.door.queued == 1)
        assert house.door.running == 0
        assert (await house.ask("POST", CHAT, json=BODY))[0] == 200
        house.lora.gate.set()
        assert await waiting == (200, None)


async def test_a_queue_full_of_waiting_loads_refuses_the_next_one(opened: Open) -> None:
    async with opened(running=1, queued=2) as house:
        house.lora.gate.clear()
        waiting = [asyncio.ensure_future(house.call()) for _ in range(2)]
        await until(lambda: house.door.queued == 2)
        assert await house.call() == (503, "overloaded")
        house.lora.gate.set()
        assert await asyncio.gather(*waiting) == [(200, None)] * 2
        await until(lambda: house.door.running == 0)
        assert (house.door.queued, house.lora.added) == (0, [A.engine_name])


async def test_a_door_without_a_queue_brings_a_version_while_it_has_room(opened: Open) -> None:
    async with opened(running=1, queued=0) as house:
        assert await house.call() == (200, None)


async def test_a_load_that_takes_too_long_is_told_and_goes_on(opened: Open) -> None:
    async with opened(timeout_s=0.05) as house:
        house.lora.gate.clear()
        assert await house.call() == (503, "adapter_loading")
        assert (house.door.queued, house.door.running) == (0, 0)
        house.lora.gate.set()
        await until(lambda: house.shelf.ready(A))


async def test_a_client_that_leaves_while_its_adapter_loads_gives_its_place_at_once(opened: Open) -> None:
    async with opened() as house:
        house.lora.gate.clear()
        leaver = asyncio.ensure_future(house.call())
        await until(lambda: house.door.queued == 1)
        leaver.cancel()
        await until(lambda: house.door.queued == 0)
        house.lora.gate.set()
        await until(lambda: house.shelf.ready(A))
        assert (house.engine.seen, house.shelf.requests) == ([], 0)


async def test_a_drop_under_traffic_waits_and_is_busy_when_it_may_not_wait_so_long(opened: Open) -> None:
    async with opened() as house:
        house.engine.script = Script(tokens=1, ttft_s=0.2)
        running = asyncio.ensure_future(house.call())
        await until(lambda: house.engine.running == 1)
        gone = f"/adapters/{A.engine_name}"
        status, told = await house.ask("DELETE", gone, params={"wait_s": "0"})
        assert (status, told["error"]["code"]) == (409, "adapter_busy")
        assert (await house.ask("DELETE", gone, params={"wait_s": "5"}))[0] == 200
        assert running.done()
        assert await running == (200, None)
        assert house.lora.removed == [A.engine_name]


async def test_a_client_that_leaves_its_answer_lets_its_version_go(opened: Open) -> None:
    async with opened() as house:
        house.engine.script = Script(fault="silent")
        leaver = asyncio.ensure_future(house.call())
        await until(lambda: house.engine.running == 1)
        leaver.cancel()
        assert (await house.ask("DELETE", f"/adapters/{A.engine_name}", params={"wait_s": "2"}))[0] == 200


async def test_a_door_that_closes_loads_nothing(opened: Open) -> None:
    async with opened() as house:
        house.lora.gate.clear()
        waiting = asyncio.ensure_future(house.call())
        await until(lambda: house.shelf.loading)
        await house.door.drained()
        assert await waiting == (503, "server_shutting_down")
        assert await house.call(B) == (503, "server_shutting_down")
        status, told = await house.ask("PUT", "/adapters", json=wanted(B))
        assert (status, told["error"]["code"]) == (503, "server_shutting_down")
        assert house.lora.names == {}


async def test_an_engine_without_adapters_says_so(opened: Open) -> None:
    async with opened(enabled=False) as house:
        assert await house.call() == (400, "adapters_disabled")
        for method, path in (("PUT", "/adapters"), ("GET", "/adapters"), ("DELETE", "/adapters/x")):
            status, told = await house.ask(method, path)
            assert (status, told["error"]["code"]) == (400, "adapters_disabled")
        assert (await house.ask("POST", CHAT, json=BODY))[0] == 200


async def test_the_figures_follow_the_engines_own_metrics(opened: Open) -> None:
    async with opened() as house:
        await house.call()
        async with house.client.get("/metrics") as response:
            text = await response.text()
        for line in (
            *("penstock_adapter_requests_total 1.0", "penstock_adapter_loads_total 1.0"),
            *("penstock_adapter_activations_total 1.0", 'penstock_adapter_slots{state="used"} 1.0'),
            'penstock_adapter_slots{state="free"} 1.0',
        ):
            assert f"{line}\n" in text

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from serving.engines.asgi import Message
from serving.engines.door import GENERATIONS, DoorSettings, EngineDoor
from serving.testing import FakeEngine, Script, serve
from tests.serving.api.wire import post, wire
from tests.serving.engines.hurried import run

TOKEN = "door-token"
CHAT = "/v1/chat/completions"


class Engine:
    """What stands behind the door: keeps each request until it is let go; counts generations, as vLLM would."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.bodies: list[bytes] = []
        self.running = self.most = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        generations = int(dict(scope["headers"]).get(GENERATIONS.encode(), 1))
        self.running += generations
        self.most = max(self.most, self.running)
        try:
            self.bodies.append((await receive()).get("body", b""))
            await self.let_go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["path"].encode()})
        finally:
            self.running -= generations


class Call:
    """One request at the door, without a network; `leave()` is what a server tells when the client has gone."""

    def __init__(
        self,
        door: EngineDoor,
        path: str = CHAT,
        *,
        method: str = "POST",
        token: str | None = TOKEN,
        generations: int | str | None = None,
    ) -> None:
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._messages.put_nowait({"type": "http.request", "body": b"prompt", "more_body": False})
        headers = [(b"authorization", f"Bearer {token}".encode())] if token is not None else []
        headers += [(GENERATIONS.encode(), str(generations).encode())] if generations is not None else []
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        self.task = asyncio.ensure_future(door(scope, self._messages.get, self._send))

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def _send(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        self.headers.update(message.get("headers", ()))
        self.body += message.get("body", b"")

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


MakeDoor = Callable[..., tuple[EngineDoor, Engine]]


@pytest.fixture
def make_door() -> MakeDoor:
    def make(running: int = 1, queued: int = 2, timeout_s: float = 5.0) -> tuple[EngineDoor, Engine]:
        engine = Engine()
        return EngineDoor(engine, token=TOKEN, settings=DoorSettings(running, queued, timeout_s)), engine

    return make


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(12):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        *(
            (path, "POST")
            for path in ("//v1/chat/completions", "/invocations", "/tokenize", "/pause", "/v1/embeddings")
        ),
        *((path, "POST") for path in ("/v1/completions/", "/v1/load_lora_adapter", "/metrics", "/v1/%63ompletions")),
        *((path, "GET") for path in (CHAT, "/v1/models", "/docs", "/")),
        ("/metrics", "HEAD"),
    ],
)
async def test_other_routes_are_unknown_with_the_token_and_closed_without(
    make_door: MakeDoor, path: str, method: str
) -> None:
    door, engine = make_door()
    inside, outside = Call(door, path, method=method), Call(door, path, method=method, token=None)
    await asyncio.gather(inside.task, outside.task)
    assert (inside.status, inside.code) == (404, "unknown_url")
    assert (outside.status, outside.code) == (401, "invalid_api_key")
    assert engine.bodies == []


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/metrics", "/health"])
async def test_allowed_routes_need_the_whole_token(make_door: MakeDoor, path: str) -> None:
    door, engine = make_door()
    engine.let_go.set()
    method = "POST" if path.startswith("/v1") else "GET"
    calls = [Call(door, path, method=method, token=token) for token in (TOKEN, TOKEN[:-1], TOKEN + "x", "", "é", None)]
    await asyncio.gather(*(call.task for call in calls))
    assert [call.status for call in calls] == [200, 401, 401, 401, 401, 401]


async def test_a_web_socket_gets_no_engine(make_door: MakeDoor) -> None:
    door, engine = make_door()
    await door({"type": "websocket", "path": CHAT, "headers": []}, asyncio.Event().wait, asyncio.sleep)  # type: ignore[arg-type]
    assert engine.bodies == []


async def test_more_than_the_cap_waits_and_more_than_the_queue_is_refused(make_door: MakeDoor) -> None:
    door, engine = make_door(running=2, queued=3)
    calls = [Call(door) for _ in range(6)]
    await settle()
    assert (door.running, door.queued, engine.running) == (2, 3, 2)
    assert (calls[5].status, calls[5].code) == (503, "overloaded")
    assert int(calls[5].headers[b"retry-after"]) >= 1
    engine.let_go.set()
    await asyncio.gather(*(call.task for call in calls))
    assert [call.status for call in calls[:5]] == [200] * 5
    assert (door.running, door.queued, engine.most) == (0, 0, 2)


async def test_the_queue_is_first_come_first_served(make_door: MakeDoor) -> None:
    door, engine = make_door(queued=8)
    calls = [Call(door, CHAT if index % 2 else "/v1/completions") for index in range(6)]
    done: list[int] = []
    for index, call in enumerate(calls):
        call.task.add_done_callback(lambda _, index=index: done.append(index))
        await settle()
    engine.let_go.set()
    await asyncio.gather(*(call.task for call in calls))
    assert done == list(range(6))


async def test_who_waits_too_long_is_told_to_come_again(make_door: MakeDoor) -> None:
    door, engine = make_door(timeout_s=0.02)
    first, second = Call(door), Call(door)
    await second.task
    assert (second.status, second.code, second.headers[b"retry-after"]) == (503, "overloaded", b"2")
    assert (door.running, door.queued) == (1, 0)
    engine.let_go.set()
    await first.task
    assert (first.status, door.running) == (200, 0)


async def test_a_client_that_leaves_while_it_waits_gives_its_place_at_once(make_door: MakeDoor) -> None:
    door, engine = make_door(queued=1)
    first, waiting = Call(door), Call(door)
    await settle()
    waiting.leave()
    await settle()
    assert (waiting.task.done(), door.running, door.queued) == (True, 1, 0)
    newcomer = Call(door)
    await settle()
    assert newcomer.status is None
    engine.let_go.set()
    await asyncio.gather(first.task, newcomer.task)
    assert (first.status, newcomer.status, len(engine.bodies)) == (200, 200, 2)


async def test_what_a_waiting_client_sent_reaches_the_engine(make_door: MakeDoor) -> None:
    door, engine = make_door()
    first, waiting = Call(door), Call(door)
    await settle()
    engine.let_go.set()
    await asyncio.gather(first.task, waiting.task)
    assert engine.bodies == [b"prompt", b"prompt"]


async def test_a_cancelled_waiter_stays_cancelled_and_gives_its_place(make_door: MakeDoor) -> None:
    door, engine = make_door()
    first, waiting = Call(door), Call(door)
    await settle()
    waiting.leave()
    waiting.task.cancel()
    await asyncio.wait([waiting.task])
    assert waiting.task.cancelled()
    engine.let_go.set()
    await first.task
    assert (door.running, door.queued) == (0, 0)


async def test_a_slot_handed_over_to_a_cancelled_waiter_goes_to_the_next(make_door: MakeDoor) -> None:
    door, engine = make_door()
    first, unlucky, third = Call(door), Call(door), Call(door)
    await settle()
    first.task.add_done_callback(lambda _: unlucky.task.cancel())
    engine.let_go.set()
    await asyncio.wait([first.task, unlucky.task, third.task])
    assert unlucky.task.cancelled()
    assert (third.status, door.running, door.queued) == (200, 0, 0)


async def test_a_request_takes_a_slot_for_each_of_its_generations(make_door: MakeDoor) -> None:
    door, engine = make_door(running=4, queued=4)
    calls = [Call(door, generations=3), Call(door), Call(door, generations=2), Call(door, generations=2)]
    await settle()
    assert (door.running, door.queued, engine.running) == (4, 4, 4)
    late = Call(door)
    await late.task
    assert (late.status, late.code) == (503, "overloaded")
    engine.let_go.set()
    await asyncio.gather(*(call.task for call in calls))
    assert (door.running, door.queued, engine.most) == (0, 0, 4)


async def test_a_request_wider_than_the_replica_takes_all_of_it_and_gives_all_back(make_door: MakeDoor) -> None:
    door, engine = make_door(running=4, queued=9)
    first, widest, third = Call(door), Call(door, generations=8192), Call(door)
    await settle()
    assert (door.running, door.queued, len(engine.bodies)) == (1, 5, 1)
    first.leave()
    first.task.cancel()
    await settle()
    assert (door.running, door.queued, len(engine.bodies)) == (4, 1, 2)
    engine.let_go.set()
    await asyncio.gather(widest.task, third.task)
    assert (widest.status, third.status, door.running) == (200, 200, 0)


async def test_a_narrow_request_does_not_overtake_a_wide_one(make_door: MakeDoor) -> None:
    door, engine = make_door(running=3, queued=9)
    first, second = Call(door, generations=2), Call(door, generations=1)
    wide, narrow = Call(door, generations=3), Call(door)
    await settle()
    second.task.cancel()
    await settle()
    assert (door.running, door.queued, len(engine.bodies)) == (2, 4, 2)
    first.task.cancel()
    await settle()
    assert (door.running, door.queued, len(engine.bodies)) == (3, 1, 3)
    engine.let_go.set()
    await asyncio.gather(wide.task, narrow.task)


def test_who_stood_behind_a_wide_request_enters_when_that_one_gives_up(make_door: MakeDoor) -> None:
    door, engine = make_door(running=3, queued=9, timeout_s=1000)

    async def queue() -> None:
        inside, wide = Call(door, generations=1), Call(door, generations=3)
        await asyncio.sleep(500)
        behind = Call(door, generations=2)
        await wide.task
        await settle()
        assert (wide.status, behind.status) == (503, None)
        assert (door.running, door.queued) == (3, 0)
        engine.let_go.set()
        await asyncio.gather(inside.task, behind.task)

    assert 1000 <= run(queue()) < 1500


@pytest.mark.parametrize("sent", ["", "0", "-3", "1.5", "many"])
async def test_a_count_that_is_none_counts_as_one(sent: str) -> None:
    entered: list[int] = []

    async def engine(scope: Any, receive: Any, send: Any) -> None:
        entered.append(door.running)

    door = EngineDoor(engine, token=TOKEN, settings=DoorSettings(4, 0, 1.0))
    await Call(door, generations=sent).task
    assert (entered, door.running) == ([1], 0)


async def _hurry(door: EngineDoor, engine: Engine, chance: random.Random) -> None:
    """Requests that come, leave, are cancelled and are let go in any order."""
    calls: list[Call] = []
    for _ in range(120):
        act = chance.random()
        if act < 0.5 or not calls:
            calls.append(Call(door, generations=chance.choice((None, 1, 2, 3))))
        elif act < 0.65:
            chance.choice(calls).leave()
        elif act < 0.8:
            chance.choice(calls).task.cancel()
        elif act < 0.95:
            engine.let_go.set()
            engine.let_go = asyncio.Event()
        else:
            await asyncio.sleep(0.003)
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        assert door.running <= 3
    engine.let_go.set()
    await asyncio.wait([call.task for call in calls])


@pytest.mark.parametrize("seed", range(25))
async def test_no_schedule_lets_in_more_than_the_cap_or_loses_a_slot(make_door: MakeDoor, seed: int) -> None:
    door, engine = make_door(running=3, queued=4, timeout_s=0.005)
    async with asyncio.timeout(10):
        await _hurry(door, engine, random.Random(seed))
        await door.drained()
    assert engine.most == 3
    assert (door.running, door.queued, engine.running) == (0, 0, 0)


async def test_a_failing_engine_gives_its_slot_back() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("boom")

    door = EngineDoor(failing, token=TOKEN, settings=DoorSettings(1, 0, 1.0))
    for _ in range(3):
        with pytest.raises(RuntimeError, match="boom"):
            await Call(door).task
    assert door.running == 0


async def test_a_drain_waits_for_who_is_inside_and_refuses_newcomers(make_door: MakeDoor) -> None:
    door, engine = make_door()
    inside, waiting = Call(door), Call(door)
    await settle()
    drain = asyncio.ensure_future(door.drained())
    await settle()
    late = Call(door)
    await late.task
    assert (late.status, late.code) == (503, "server_shutting_down")
    assert b"retry-after" in late.headers
    assert not drain.done()
    engine.let_go.set()
    await drain
    await asyncio.gather(inside.task, waiting.task)
    assert (inside.status, waiting.status, door.running) == (200, 200, 0)


async def test_an_idle_door_is_drained_at_once(make_door: MakeDoor) -> None:
    async with asyncio.timeout(1):
        await make_door()[0].drained()


@asynccontextmanager
async def served(engine: FakeEngine) -> AsyncIterator[tuple[EngineDoor, int]]:
    door = EngineDoor(engine, token=TOKEN, settings=DoorSettings(1, 1, 5.0))
    async with serve(door) as url:
        yield door, int(url.rsplit(":", 1)[1])


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that within two seconds")


async def test_over_real_sockets_a_leaver_frees_its_place_and_a_long_body_arrives_whole() -> None:
    engine = FakeEngine(Script(fault="silent", times=1))
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x" * 300_000}]}
    async with served(engine) as (door, port), wire(port) as busy:
        await busy.send(post(body, key=TOKEN))
        await until(lambda: engine.running == 1)
        async with wire(port) as leaver:
            await leaver.send(post(body, key=TOKEN))
            await until(lambda: door.queued == 1)
        await until(lambda: door.queued == 0)
        async with wire(port) as patient:
            await patient.send(post(body, key=TOKEN))
            await until(lambda: door.queued == 1)
            busy.writer.transport.abort()
            assert (await patient.reader.readline()).startswith(b"HTTP/1.1 200")
            await until(lambda: door.running == 0)
    assert len(engine.seen) == 2
    assert engine.seen[1].body == body

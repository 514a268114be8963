"""A stack with adapters for tests: the registry's routes, and replicas that keep their slots by the book."""

from __future__ import annotations

import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import orjson

from benchmarks.adapters.popular import LruSlots
from serving.testing import FakeEngine, Receive, Scope, Script, Send

KEY = "sk-test"


@dataclass
class Replica:
    """One engine's slots and what it counted."""

    slots: LruSlots = field(default_factory=lambda: LruSlots(2))
    served: Counter[str] = field(default_factory=Counter)
    activations: int = 0

    def call(self, name: str) -> None:
        self.served[name] += 1
        self.activations += not self.slots.hit(hash(name))

    @property
    def totals(self) -> dict[str, Any]:
        counts = {"activations": self.activations, "disk_loads": 0, "requests": self.served.total()}
        return {"slots": 2, "slots_used": 2, "host": 2, "max_host": 2, **counts}


class FleetStack:
    """Two replicas. `affinity`: whether a name has its own. `records`: one per answer, as the stack exports them."""

    def __init__(self) -> None:
        self.engine = FakeEngine(Script(tokens=4))
        self.replicas = [Replica(), Replica()]
        self.affinity = True
        self.versions: Counter[str] = Counter()
        self.live: set[str] = set()
        self.retired: list[str] = []
        self.pushed: dict[str, bytes] = {}
        self.told_ms = {"fetched_ms": 2.0, "loaded_ms": 3.0, "warmed_ms": 5.0, "told_ms": 14.0}
        self.waiting: list[str] = []
        self.records: list[dict[str, Any]] = []
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if dict(scope["headers"]).get(b"authorization") != f"Bearer {KEY}".encode():
            await answer(send, 401, {"error": {"message": "no such key"}})
            return
        match scope["path"].removeprefix("/v1/").split("/"):
            case ["models"]:
                await answer(send, 200, {"data": [{"id": name} for name in ("demo-small", *sorted(self.live))]})
            case ["adapters", name, verb]:
                await answer(send, 200, self._done(name, verb, content=await body_of(receive)))
            case _:
                await self._chat(scope, receive, send=send)

    def _done(self, name: str, verb: str, *, content: bytes) -> dict[str, Any]:
        if verb == "versions":
            assert zipfile.is_zipfile(BytesIO(content))
            self.pushed[name] = content
            self.versions[name] += 1
            return {"version": self.versions[name]}
        if verb == "promote":
            assert orjson.loads(content)["version"] <= self.versions[name]
            self.live.add(name)
            slower = {**self.told_ms, "told_ms": self.told_ms["told_ms"] + 1}
            loads = [{"replica": "a", **self.told_ms}, {"replica": "b", **slower}]
            return {"replicas": loads, "waiting": self.waiting}
        if verb == "retire":
            self.retired.append(name)
            return {}
        return {"replicas": [self._standing(at, name) for at in range(2)]}

    def _standing(self, at: int, name: str) -> dict[str, Any]:
        replica = self.replicas[at]
        adapters = [{"engine_name": name, "served": replica.served[name]}]
        return {"replica": "ab"[at], "answers": True, "adapters": adapters, "totals": replica.totals}

    async def _chat(self, scope: Scope, receive: Receive, *, send: Send) -> None:
        at = time.time()
        raw = await body_of(receive)
        name = orjson.loads(raw)["model"]
        if name.startswith("adapter-"):
            assert name in self.live
            number = int(name.removeprefix("adapter-"))
            self.replicas[number % 2 if self.affinity else len(self.records) % 2].call(name)
        self.records.append({"started_at": at, "stages_ms": {"route": 0.05 if name.startswith("adapter-") else 0.04}})
        messages = [{"type": "http.request", "body": raw, "more_body": False}]

        async def again() -> Any:
            return messages.pop() if messages else await receive()

        await self.engine(scope, again, send)


async def body_of(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def answer(send: Send, status: int, body: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(body)})

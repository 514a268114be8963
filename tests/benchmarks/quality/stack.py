"""A stack that answers from a table: what each model says to each prompt, behind a gateway's headers, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import orjson

from benchmarks.calls import Address
from serving.testing import Receive, Scope, Send, serve

KEY = "sk-test"


class TableStack:
    """`says(card, prompt)` gives the answers, `route(prompt)` the card of `auto`; `cards`: their tiers.

    `failing`: the status of the next so many calls. `asked`: model and prompt of every call; `most`: at the same time.
    """

    cards: ClassVar[Mapping[str, str]] = {"s": "small", "l": "large"}

    def __init__(self, says: Callable[[str, str], str], route: Callable[[str], str] = lambda _: "s") -> None:
        self.says = says
        self.route = route
        self.reason = "threshold: score 0.30 < 0.40"
        self.failing: list[int] = []
        self.cut = False
        self.asked: list[tuple[str, str]] = []
        self.url = ""
        self.running = self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        body = b""
        while (message := await receive()).get("body") or message.get("more_body"):
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if headers.get(b"authorization") != f"Bearer {KEY}".encode():
            await _answer(send, 401, {"error": {"message": "no such key"}})
        elif scope["path"] == "/v1/models":
            cards = [{"id": "auto", "tier": None}, *({"id": card, "tier": tier} for card, tier in self.cards.items())]
            await _answer(send, 200, {"data": cards})
        else:
            await self._chat(send, orjson.loads(body))

    async def _chat(self, send: Send, body: dict[str, Any]) -> None:
        assert body["temperature"] == 0
        ((prompt,), model) = ((one["content"] for one in body["messages"]), body["model"])
        self.asked.append((model, prompt))
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.002)
        self.running -= 1
        if self.failing:
            await _answer(send, status := self.failing.pop(0), {"error": {"message": f"told {status}"}})
            return
        card = self.route(prompt) if model == "auto" else model
        text = self.says(card, prompt)
        choice = {"message": {"content": text}, "finish_reason": "length" if self.cut else "stop"}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(text)}
        ours = [(b"x-penstock-tier", self.cards[card].encode()), (b"x-penstock-route", self.reason.encode())]
        await _answer(send, 200, {"choices": [choice], "usage": usage}, ours)


@asynccontextmanager
async def standing(stack: TableStack) -> AsyncIterator[Address]:
    """The stack on a port of its own."""
    async with serve(stack) as url:
        yield Address(url, "", KEY)


async def _answer(send: Send, status: int, body: Any, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": orjson.dumps(body)})

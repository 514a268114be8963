"""One question, asked over HTTP: the whole answer, who gave it, and its tokens. Greedy, one user message, no retry.

Owns the wire. What an answer is worth is the question's affair, and so is what a failure means.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import orjson

from benchmarks.calls import Address, message_of
from models.errors import ConfigurationError, InvalidKey, Unavailable

HOPELESS = (401, 403, 404)
"""Statuses that every further call would meet: a key that is refused, a model that is not there."""
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `tier` and `route` are the gateway's headers; `fell_back`: the first choice did not answer.

    `cut`: it ended at the length limit.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    cut: bool = False
    tier: str | None = None
    route: str | None = None
    fell_back: bool = False


class NoAnswer(Exception):
    """This call failed; its words are the reason. Another call may not."""


class Asker:
    """Asks models by name."""

    def __init__(
        self, session: aiohttp.ClientSession, address: Address, *, max_tokens: int, timeout_s: float = 120.0
    ) -> None:
        self._session = session
        self._address = address
        self._max_tokens = max_tokens
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def ask(self, model: str, prompt: str) -> Answer:
        """The answer; raises `NoAnswer`, and `InvalidKey` or `ConfigurationError` where no call can succeed."""
        body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        sent = orjson.dumps({**body, "temperature": 0, "max_tokens": self._max_tokens})
        try:
            async with self._session.post(self._address.endpoint, data=sent, timeout=self._timeout) as answer:
                found, status, headers = await answer.read(), answer.status, answer.headers
        except TimeoutError as error:
            raise NoAnswer("timeout") from error
        except aiohttp.ClientError as error:
            raise NoAnswer(type(error).__name__) from error
        if status != 200:
            _refuse(status, message_of(found.decode(errors="replace")), address=self._address)
        return _answer(found, headers)


@asynccontextmanager
async def asking(address: Address, *, max_tokens: int, timeout_s: float = 120.0) -> AsyncIterator[Asker]:
    """An asker with its connections."""
    headers = {**address.headers, "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Asker(session, address, max_tokens=max_tokens, timeout_s=timeout_s)


async def side_by_side(items: Iterable[Item], work: Callable[[Item], Awaitable[object]], *, concurrency: int) -> None:
    """Do the work for every item, at most `concurrency` at a time, begun in their order; the first error ends all."""
    rest = iter(items)

    async def worker() -> None:
        for item in rest:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def tiers_of(address: Address) -> dict[str, str]:
    """Tier → card by `/v1/models`; of a tier with several cards none. Raises `Unavailable` and `InvalidKey`."""
    try:
        async with (
            aiohttp.ClientSession(headers=address.headers) as session,
            session.get(f"{address.url}/v1/models", timeout=aiohttp.ClientTimeout(30)) as answer,
        ):
            text = (await answer.read()).decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(f"Nothing answers at {address.url!r}.", detail=type(error).__name__) from error
    if answer.status in (401, 403):
        raise InvalidKey(f"{address.url} refuses the key: {message_of(text)}")
    found: dict[str, list[str]] = {}
    try:
        for entry in orjson.loads(text)["data"]:
            if not entry.get("parent"):  # an adapter stands on a card: it is none
                found.setdefault(entry["tier"], []).append(entry["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{address.url} does not list its models with their tiers.", detail=text[:200]) from error
    return {tier: cards[0] for tier, cards in found.items() if tier and len(cards) == 1}


def _refuse(status: int, said: str, *, address: Address) -> None:
    if status in (401, 403):
        raise InvalidKey(f"{address.url} refuses the key: {said}")
    if status in HOPELESS:
        raise ConfigurationError(f"{address.url} cannot serve this: {said}")
    raise NoAnswer(f"status {status}")


def _answer(found: bytes, headers: Mapping[str, str]) -> Answer:
    try:
        body: dict[str, Any] = orjson.loads(found)
        choice, usage = body["choices"][0], body.get("usage") or {}
        text = choice["message"]["content"] or ""
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise NoAnswer("no chat completion") from error
    return Answer(
        text=text,
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
        cut=choice.get("finish_reason") == "length",
        tier=headers.get("x-penstock-tier"),
        route=headers.get("x-penstock-route"),
        fell_back=headers.get("x-penstock-fallback") == "1",
    )
